"""What a step may do for the requests of an engine that reads prompts, and which of them comes first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from llm.runtime.loop.stream import Request

R = TypeVar("R", bound=Request[Any])


@dataclass(frozen=True, slots=True)
class Prefill(Generic[R]):
    """A step that reads prompts: so many tokens of each of these requests."""

    parts: Sequence[tuple[R, int]]


@dataclass(frozen=True, slots=True)
class Decode(Generic[R]):
    """A step that generates once for each of these requests."""

    requests: Sequence[R]


def by_urgency(requests: Iterable[R]) -> list[R]:
    """Those for which a step can do something, the earliest due first."""
    due = [(due_s, order, request) for order, request in enumerate(requests) if (due_s := request.due_s) is not None]
    return [request for _, _, request in sorted(due, key=lambda found: found[:2])]
