"""The demo model's arithmetic: "what is twelve times seven", chains of plus, minus, times and divided by."""

from collections.abc import Sequence
from fractions import Fraction

from llm.demo.situation import DemoAnswer, Situation
from llm.demo.words import read_number, say_number

_OPERATORS = (
    (("multiplied", "by"), "times"),
    (("divided", "by"), "divided by"),
    (("take", "away"), "minus"),
    (("times",), "times"),
    (("plus",), "plus"),
    (("minus",), "minus"),
    (("over",), "divided by"),
)


def work_out(situation: Situation) -> DemoAnswer | None:
    """The result of the first sum among the caller's words."""
    for start in range(len(situation.words)):
        terms = _read_sum(situation.words, start)
        if len(terms) > 1:
            return _answer(terms)
    return None


def _read_sum(words: Sequence[str], start: int) -> list[tuple[str, int]]:
    """The numbers from `words[start]` on, each with the operator before it ("" before the first)."""
    terms: list[tuple[str, int]] = []
    operator, position = "", start
    while number := read_number(words, position):
        value, position = number
        terms.append((operator, value))
        found = next(
            ((len(said), name) for said, name in _OPERATORS if words[position : position + len(said)] == said), None
        )
        if found is None:
            break
        position += found[0]
        operator = found[1]
    return terms


def _answer(terms: Sequence[tuple[str, int]]) -> DemoAnswer:
    if any(operator == "divided by" and value == 0 for operator, value in terms):
        return DemoAnswer("Nobody can divide by zero, not even me.")
    question = " ".join(f"{operator} {say_number(value)}".strip() for operator, value in terms)
    total, factor = Fraction(0), Fraction(terms[0][1])
    for operator, value in terms[1:]:  # times and divided by bind first
        if operator == "times":
            factor *= value
        elif operator == "divided by":
            factor /= value
        else:
            total, factor = total + factor, Fraction(value if operator == "plus" else -value)
    result = total + factor
    if abs(result) >= 10**12:
        return DemoAnswer("That is more than I can count to. Try smaller numbers.")
    return DemoAnswer(f"{question.capitalize()} is {_say(result)}.")


def _say(value: Fraction) -> str:
    if value.denominator == 1:
        return say_number(int(value))
    whole, decimals = f"{float(abs(value)):.2f}".split(".")
    digits = " ".join(say_number(int(digit)) for digit in decimals.rstrip("0") or "0")
    sign = "minus " if value < 0 else ""
    about = "" if (value * 100).denominator == 1 else "about "
    return f"{about}{sign}{say_number(int(whole))} point {digits}"
