"""Built-in tools: the time, a table at a demo restaurant, the end of the call. Each call gets its own."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from agent.tools.function import Function, ToolRefusal, tool

LARGEST_PARTY = 12


def current_time(zone: str | None = None) -> dict[str, str]:
    """The time and date now.

    Args:
        zone: IANA time zone such as Europe/Paris; left out, the zone of the agent's machine.
    """
    try:
        now = datetime.now(ZoneInfo(zone)) if zone else datetime.now().astimezone()
    except (ZoneInfoNotFoundError, ValueError):
        raise ToolRefusal(f"wanted an IANA time zone such as Europe/Paris, found {zone}") from None
    return {
        "time": now.strftime("%H:%M"),
        "date": now.strftime("%Y-%m-%d"),
        "weekday": now.strftime("%A"),
        "zone": zone or now.tzname() or "",
    }


@tool(ends_call=True)
def end_call() -> dict[str, str]:
    """End the call, after the goodbye has been spoken."""
    return {"status": "ending"}


def _table_booker() -> Callable[..., dict[str, str]]:
    bookings: list[tuple[str, str, int]] = []

    @tool(on_interruption="finish")
    def book_table(day: str, time: str, people: Annotated[int, Field(ge=1, le=LARGEST_PARTY)]) -> dict[str, str]:
        """Book a table at the demo restaurant.

        Args:
            day: day of the visit, such as friday or tomorrow.
            time: time of day, such as 19:30 or seven in the evening.
            people: number of guests.
        """
        wanted = (day, time, people)
        if wanted not in bookings:  # asked twice for the same table, the guest gets one
            bookings.append(wanted)
        return {"status": "booked", "reference": f"table {bookings.index(wanted) + 1}"}

    return book_table


BUILT_IN: Mapping[str, Callable[[], Function]] = {
    "current_time": lambda: current_time,
    "book_table": _table_booker,
    "end_call": lambda: end_call,
}
"""By name, what makes the function of one call; what it remembers is gone with the call."""
