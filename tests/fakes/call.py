"""A call in memory: the real playout and microphone, without a network. Runs in real time and in virtual time alike."""

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from webrtc.config import WebRTCConfig
from webrtc.interface import CallClosed, CallStats, CloseReason, NotConnected
from webrtc.media.mailbox import Mailbox
from webrtc.media.microphone import PacketMicrophone
from webrtc.media.playout import PacedPlayout

PACKET_MS = 20
RATE_HZ = 48_000  # of what the far end says
PACKET_SAMPLES = RATE_HZ * PACKET_MS // 1000


class FloatDecoder:
    """Packets whose payload is their samples, float32 at 48 kHz."""

    rate_hz = RATE_HZ

    def duration_ticks(self, payload: bytes) -> int:
        return len(payload) // np.dtype(np.float32).itemsize

    def decode(self, payload: bytes) -> NDArray[np.float32]:
        return np.frombuffer(payload, np.float32)


@dataclass(frozen=True, slots=True)
class FloatPacket:
    """What the microphone reads of an RTP packet."""

    sequence_number: int
    timestamp: int
    payload: bytes
    ssrc: int = 1


class MemoryCall:
    """See `webrtc.interface.Call`. A `MemoryCaller` is its far end."""

    def __init__(self, config: WebRTCConfig | None = None) -> None:
        self._config = config or WebRTCConfig()
        self.id = secrets.token_hex(16)
        self.playout = PacedPlayout(capacity_ms=self._config.playout_capacity_ms, call_id=self.id)
        self.microphone = PacketMicrophone(
            self._config.jitter, FloatDecoder(), capacity_ms=self._config.microphone_capacity_ms, call_id=self.id
        )
        self.messages: Mailbox[str] = Mailbox(self._config.message_capacity)
        self.close_reason: CloseReason | None = None
        self._outbox: deque[str] = deque(maxlen=self._config.message_capacity)
        self._caller: MemoryCaller | None = None
        self._connected_or_closed = asyncio.Event()
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def stats(self) -> CallStats:
        heard = self.microphone.stats
        return CallStats(late_packets=heard.late, lost_packets=heard.lost, stalls=self.playout.stalls)

    async def wait_connected(self) -> None:
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                await self._connected_or_closed.wait()
        except TimeoutError:
            self.end(CloseReason.NOT_CONNECTED)
        if self.close_reason is not None:
            raise NotConnected(f"call {self.id} is not connected: {self.close_reason.value}")

    async def wait_closed(self) -> CloseReason:
        await self._closed.wait()
        assert self.close_reason is not None
        return self.close_reason

    def send(self, message: str) -> None:
        if self.close_reason is not None:
            return
        if self._caller is None:
            self._outbox.append(message)
        else:
            self._caller.take(message)

    async def close(self) -> None:
        self.end(CloseReason.CLOSED)

    def connect(self, caller: "MemoryCaller") -> None:
        """From here on audio and messages flow."""
        self._caller = caller
        while self._outbox:
            caller.take(self._outbox.popleft())
        self._connected_or_closed.set()

    def receive(self, message: str) -> None:
        """Take a message of the far end's."""
        if len(message) <= self._config.max_message_chars:
            self.messages.put(message)

    def end(self, reason: CloseReason) -> None:
        """The moment after which nothing is delivered. Twice is harmless."""
        if self.close_reason is None:
            self.close_reason = reason
            self.microphone.close()
            self.playout.close()
            self.messages.close()
            self._connected_or_closed.set()
            self._closed.set()


class MemoryCaller:
    """The far end of a MemoryCall: connected inside the context, hangs up at its end."""

    def __init__(self, call: MemoryCall) -> None:
        self._call = call
        self._tasks = asyncio.TaskGroup()
        self._heard: list[NDArray[np.float32]] = []
        self._to_say = np.empty(0, np.float32)
        self._messages: asyncio.Queue[str] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._call.connect(self)
        self._running = [self._tasks.create_task(self._hear()), self._tasks.create_task(self._speak())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call.end(CloseReason.HUNG_UP)
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)  # the block's own exception goes on as it is

    async def say(self, samples: NDArray[np.float32]) -> None:
        """Say it after what is being said: [S] at 48 kHz, from the start of a packet."""
        self._to_say = np.concatenate((self._to_say, samples))

    def heard(self) -> NDArray[np.float32]:
        """All that was heard so far, silence too: [S] at 24 kHz."""
        return np.concatenate([np.empty(0, np.float32), *self._heard])

    def send(self, text: str) -> None:
        self._call.receive(text)

    def take(self, message: str) -> None:
        """Receive a message."""
        self._messages.put_nowait(message)

    async def next_message(self) -> str:
        return await self._messages.get()

    async def wait_closed(self) -> None:
        await self._call.wait_closed()

    async def _hear(self) -> None:
        try:
            while True:
                self._heard.append(await self._call.playout.next_block())
        except CallClosed:
            return

    async def _speak(self) -> None:
        """A packet every 20 ms, silent where there is nothing to say."""
        loop = asyncio.get_running_loop()
        start_s, number = loop.time(), 0
        while True:
            said, self._to_say = self._to_say[:PACKET_SAMPLES], self._to_say[PACKET_SAMPLES:]
            payload = np.pad(said, (0, PACKET_SAMPLES - said.size)).tobytes()
            self._call.microphone.receive(FloatPacket(number % (1 << 16), number * PACKET_SAMPLES, payload))
            number += 1
            await asyncio.sleep(start_s + number * PACKET_MS / 1000 - loop.time())
