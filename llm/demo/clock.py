"""The demo model's clock: the time and date, here or in a city, through the `current_time` tool."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from llm.demo.situation import DemoAnswer, Situation
from llm.demo.words import say_date, say_time

TOOL = "current_time"

ZONES = {
    "paris": "Europe/Paris",
    "london": "Europe/London",
    "berlin": "Europe/Berlin",
    "madrid": "Europe/Madrid",
    "rome": "Europe/Rome",
    "lisbon": "Europe/Lisbon",
    "amsterdam": "Europe/Amsterdam",
    "cairo": "Africa/Cairo",
    "delhi": "Asia/Kolkata",
    "tokyo": "Asia/Tokyo",
    "sydney": "Australia/Sydney",
    "new york": "America/New_York",
    "chicago": "America/Chicago",
    "los angeles": "America/Los_Angeles",
}

_ASKS_TIME = ("what time", "the time", "time is it", "how late is it", "current time")
_ASKS_DATE = (
    *("what day", "which day", "day is it", "what date", "which date", "date is it", "the date", "today's date"),
    *("what month", "which month", "what year", "which year"),
)


def tell_time(situation: Situation) -> DemoAnswer | None:
    """Ask for the time or date if the caller wants it."""
    if not situation.hears(*_ASKS_TIME, *_ASKS_DATE):
        return None
    zone = next((zone for city, zone in ZONES.items() if situation.hears(city)), None)
    wish = situation.call(TOOL, zone=zone) if zone else situation.call(TOOL)
    return wish or DemoAnswer("I'm sorry, nobody gave me a clock here. Ask me something else.")


def say_result(situation: Situation, result: Mapping[str, Any], arguments: Mapping[str, Any]) -> DemoAnswer:
    """Say what the clock shows."""
    try:
        hour, minute = map(int, str(result["time"]).split(":")[:2])
        day = date.fromisoformat(str(result["date"]))
    except (KeyError, ValueError):
        return DemoAnswer("I'm sorry, my clock gave me no answer. Try again in a moment.")
    city = next((city.title() for city, zone in ZONES.items() if zone == arguments.get("zone")), None)
    place = f" in {city}" if city else ""
    if situation.hears(*_ASKS_DATE):
        return DemoAnswer(f"Today{place} is {say_date(day)}.")
    return DemoAnswer(f"It is {say_time(hour, minute)}{place}.")
