"""What a contract suite needs of one kind of call: a new call, and a far end that joins it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.far_end.caller import Caller
from tests.fakes.call import MemoryCall, MemoryCaller
from webrtc.config import WebRTCConfig
from webrtc.interface import Call
from webrtc.peer.call import PeerCall


class FarEnd(Protocol):
    """The caller's side of a connected call."""

    async def say(self, samples: NDArray[np.float32]) -> Any:
        """Say it after what is being said: [S] at 48 kHz."""
        ...

    def heard(self) -> NDArray[np.float32]:
        """All that was heard so far, silence too: [S] at 24 kHz."""
        ...

    def send(self, text: str) -> None:
        """Send a message."""
        ...

    async def next_message(self) -> str:
        """The oldest message that this has not returned yet."""
        ...

    async def wait_closed(self) -> None:
        """Wait until the other side hangs up."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of call. Inside the context of `join` the far end is connected; leaving it, it hangs up."""

    new_call: Callable[[WebRTCConfig], Call]
    join: Callable[[Any], AbstractAsyncContextManager[FarEnd]]


class _PeerFarEnd:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.say = caller.say
        self.send = caller.send
        self.wait_closed = caller.wait_closed

    def heard(self) -> NDArray[np.float32]:
        return self._caller.recording().samples[::2]

    async def next_message(self) -> str:
        return (await self._caller.next_message()).text


@asynccontextmanager
async def _join_peer(call: PeerCall) -> AsyncGenerator[FarEnd]:
    async with Caller(call) as caller:
        yield _PeerFarEnd(caller)


LINES = {
    "peer": Line(PeerCall, _join_peer),
    "memory": Line(MemoryCall, MemoryCaller),
}
