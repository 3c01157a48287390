"""The demo model's table booking: day, time and number of people in any order, then a yes, then the `book_table` tool.

The state is what the caller's messages say, read from the first to the last: nothing is kept between replies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm.demo.situation import DemoAnswer, Situation
from llm.demo.words import read_number, say_number, words_of

TOOL = "book_table"

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WISHES = (
    *("book a table", "book me a table", "reserve a table", "table for", "make a booking", "make a reservation"),
    *("a reservation", "a booking", "book dinner", "book lunch", "book for"),
    *("get a table", "need a table", "want a table", "like a table", "have a table"),
)
_YES = {"yes", "yeah", "yep", "sure", "correct", "okay", "ok", "please", "perfect", "right", "exactly", "do"}
_NO = {"no", "nope", "wrong", "not", "don't"}
_GIVES_UP = {"cancel", "forget", "nevermind", "stop"}
_PARTS_OF_DAY = ("morning", "afternoon", "evening")
_LATEST_BARE_PM = 11  # "at seven" at a restaurant is in the evening


@dataclass(frozen=True, slots=True)
class Booking:
    """What is known of the table that the caller wants."""

    day: str = ""
    time: str = ""
    people: int = 0
    is_refused: bool = False  # the caller said no to what was read back

    @property
    def is_complete(self) -> bool:
        """Whether only the caller's yes is missing."""
        return bool(self.day and self.time and self.people)


def book(situation: Situation) -> DemoAnswer | None:
    """The next step of the booking, if the caller is at it."""
    booking, is_confirmed, is_news = _read(situation)
    if booking is None or not is_news:
        return None
    if is_confirmed:
        wish = situation.call(TOOL, day=booking.day, time=booking.time, people=booking.people)
        return wish or DemoAnswer("I would book it gladly, but the restaurant's book is not within my reach here.")
    if booking.is_refused:
        return DemoAnswer("No harm done. Tell me what to change: the day, the time, or how many of you there are.")
    return DemoAnswer(question(booking))


def open_question(situation: Situation) -> str:
    """What a booking still waits for, to ask again after something else; empty if none is open."""
    booking, is_confirmed, _ = _read(situation)
    return "" if booking is None or is_confirmed else question(booking)


def question(booking: Booking) -> str:
    """What to ask next."""
    if not booking.day:
        return "With pleasure. For which day shall I book the table?"
    if not booking.time:
        return f"{_say_day(booking.day)}. At what time would you like to come?"
    if not booking.people:
        return f"{_say_day(booking.day)} at {booking.time}. How many of you will there be?"
    people = "one person" if booking.people == 1 else f"{say_number(booking.people)} people"
    return f"A table for {people}, {booking.day} at {booking.time}. Shall I book it?"


def say_result(result: Mapping[str, Any]) -> DemoAnswer:
    """Say what the restaurant answered."""
    if result.get("status") != "booked":
        return DemoAnswer(
            "I'm sorry, the restaurant could not take that booking. Shall we try another day or fewer people?"
        )
    reference = result.get("reference")
    return DemoAnswer(
        "Done, your table is booked." + (f" Your reference is {reference}." if reference else "") + " Enjoy it!"
    )


def _read(situation: Situation) -> tuple[Booking | None, bool, bool]:
    """The open booking, whether the last words confirmed it, and whether they added anything to it."""
    booking: Booking | None = None
    is_confirmed = is_news = False
    for message in situation.messages:
        if any(call.name == TOOL for call in message.tool_calls):
            booking = None
        if message.role != "user":
            continue
        words = words_of(message.content)
        wants = any(f" {wish} " in f" {' '.join(words)} " for wish in _WISHES)
        is_confirmed = is_news = False
        if booking is None and not wants:
            continue
        before = booking
        if before is not None and not wants and ((_GIVES_UP & {*words}) or words[:2] == ("never", "mind")):
            booking = None
            continue
        booking = _fill(replace(before or Booking(), is_refused=False), words)
        is_news = wants or booking != before
        if before is not None and before.is_complete and booking == replace(before, is_refused=False):
            if _NO & {*words}:
                booking, is_news = replace(booking, is_refused=True), True
            elif _YES & {*words}:
                is_confirmed = is_news = True
    return booking, is_confirmed, is_news


def _fill(booking: Booking, words: Sequence[str]) -> Booking:
    """The booking with what these words add or change; a bare number answers the question that is open."""
    for day in (*DAYS, "today", "tonight", "tomorrow"):
        if day in words:
            is_next = "next" in words and words.index(day) > 0 and words[words.index(day) - 1] == "next"
            booking = replace(booking, day=f"next {day.title()}" if is_next else day.title() if day in DAYS else day)
    if "just me" in " ".join(words) or "only me" in " ".join(words) or "by myself" in " ".join(words):
        booking = replace(booking, people=1)
    position = 0
    while position < len(words):
        position += 1
        before, following = words[position - 2] if position > 1 else "", words[position - 1 :]
        if time := _read_time(following, before):
            booking = replace(booking, time=time[0])
            position += time[1] - 1
        elif number := read_number(following):
            value, length = number
            after = following[length] if length < len(following) else ""
            counts_people = after in ("people", "persons", "guests", "of", "person") or before in ("for", "are", "of")
            if counts_people or (booking.day and booking.time and not booking.people):
                booking = replace(booking, people=value)
            elif booking.day and not booking.time and 1 <= value <= 24:
                booking = replace(booking, time=_say_clock(value, 0, following[length:]))
            position += length - 1
    return booking


def _read_time(words: Sequence[str], before: str) -> tuple[str, int] | None:
    """A clock time that begins here, as it is said, and its length in words; None if none does."""
    said = " ".join(words)
    for name in ("noon", "midday", "midnight"):
        if words[0] == name:
            return name, 1
    for phrase, minute in (("half past", 30), ("quarter past", 15), ("quarter to", -15)):
        if said.startswith(f"{phrase} ") and (hour := read_number(words, 2)):
            return _say_clock(hour[0], minute, words[hour[1] :]), hour[1]
    hour = read_number(words)
    if hour is None or not 1 <= hour[0] <= 24:
        return None
    after = words[hour[1] :]
    minute = read_number(after)
    if minute and minute[0] in range(10, 60, 5) and before != "for":
        return _say_clock(hour[0], minute[0], after[minute[1] :]), hour[1] + minute[1]
    if before in ("at", "around", "about") or (after and after[0] in ("o'clock", "am", "pm")):
        return _say_clock(hour[0], 0, after), hour[1] + (1 if after and after[0] in ("o'clock", "am", "pm") else 0)
    return None


def _say_clock(hour: int, minute: int, after: Sequence[str]) -> str:
    hours = say_number((hour - 1) % 12 + 1)
    clock = {0: hours, 30: f"half past {hours}", 15: f"a quarter past {hours}", -15: f"a quarter to {hours}"}.get(
        minute, f"{hours} {say_number(minute) if minute > 0 else ''}"
    )
    part = next((part for part in _PARTS_OF_DAY if part in after), None)
    if part is None:
        part = "morning" if "am" in after else "evening" if hour > 12 or 5 <= hour <= _LATEST_BARE_PM else "afternoon"
    return f"{clock} in the {part}"


def _say_day(day: str) -> str:
    return day[0].upper() + day[1:]
