"""Words as the demo model hears and says them: plain lower-case words in, numbers, clock times and dates out."""

import re
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: value for value, word in enumerate(_ONES)} | {word: 20 + 10 * i for i, word in enumerate(_TENS)}
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_SYMBOLS = {"+": " plus ", "*": " times ", "×": " times ", "÷": " divided by ", "/": " divided by ", "%": " percent "}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6}
_LARGEST = 10**12


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text in lower case, without punctuation: from any recognizer, or a keyboard."""
    text = text.lower().replace("’", "'")
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, word)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    return tuple(word.strip("'") for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*", text))


def read_number(words: Sequence[str], start: int = 0) -> tuple[int, int] | None:
    """The number that begins at `words[start]`, in words or digits, and the position after it; None if none does."""
    if start < len(words) and words[start].isascii() and words[start].isdigit():
        return (int(words[start]), start + 1) if int(words[start]) < _LARGEST else None
    total = group = 0
    room = (
        _LARGEST  # a word goes on with the number if its value is below: "twenty" leaves room for ones, "one" for none
    )
    position = start
    for word, following in pairwise((*words[start:], "")):
        value = 1 if word == "a" and following == "hundred" else _VALUES.get(word)
        if value is not None and value < room and (value > 0 or position == start):
            group += value
            room = 10 if value >= 20 else 0
        elif word in _SCALES and group and (word != "hundred" or group < 10):
            if word == "hundred":
                group, room = group * 100, 100
            else:
                total, group, room = total + group * _SCALES[word], 0, _SCALES[word]
        elif not (word == "and" and room >= 100 and following in _VALUES and position > start):
            break
        position += 1
    return (total + group, position) if position > start else None


def say_number(value: int) -> str:
    """A whole number in English words: 142 is "one hundred and forty-two"."""
    if value < 0:
        return f"minus {say_number(-value)}"
    if value < 20:
        return _ONES[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    if value < 1000:
        return _join(value, 100, "hundred", " and ")
    for unit, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand")):
        if value >= unit:
            return _join(value, unit, name, " " if value % unit >= 100 else " and ")
    raise AssertionError(value)


def say_ordinal(value: int) -> str:
    """A day of the month: 23 is "twenty-third"."""
    head, dash, last = say_number(value).rpartition("-")
    ordinal = _ORDINALS.get(last) or (last.removesuffix("y") + "ieth" if last.endswith("y") else f"{last}th")
    return head + dash + ordinal


def say_time(hour: int, minute: int) -> str:
    """A clock time: 14:45 is "a quarter to three in the afternoon"."""
    if minute > 30 and minute % 5 == 0:
        shown = (hour + 1) % 24
        clock = f"{'a quarter' if minute == 45 else say_number(60 - minute)} to {say_number(shown % 12 or 12)}"
    elif minute == 0:
        clock = f"{say_number(hour % 12 or 12)} o'clock"
    elif minute == 30:
        clock = f"half past {say_number(hour % 12 or 12)}"
    elif minute % 5 == 0:
        clock = f"{'a quarter' if minute == 15 else say_number(minute)} past {say_number(hour % 12 or 12)}"
    else:
        spoken_minute = f"oh {say_number(minute)}" if minute < 10 else say_number(minute)
        clock = f"{say_number(hour % 12 or 12)} {spoken_minute}"
    return f"{clock} {_part_of_day(hour)}"


def say_date(day: date) -> str:
    """A date: "Monday, the twenty-third of November"."""
    return f"{day:%A}, the {say_ordinal(day.day)} of {day:%B}"


def _part_of_day(hour: int) -> str:
    if hour < 5 or hour >= 22:
        return "at night"
    if hour < 12:
        return "in the morning"
    return "in the afternoon" if hour < 18 else "in the evening"


def _join(value: int, unit: int, name: str, joint: str) -> str:
    head, rest = divmod(value, unit)
    return f"{say_number(head)} {name}" + (f"{joint}{say_number(rest)}" if rest else "")
