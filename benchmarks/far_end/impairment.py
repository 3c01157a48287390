"""A bad network between a caller and a server: packets lost and delayed on their way out."""

import asyncio
import heapq
import random
from dataclasses import dataclass

from aiortc import RTCDtlsTransport
from aiortc.rtp import is_rtcp


@dataclass(frozen=True, slots=True)
class Network:
    """How packets fare; the same seed gives the same pattern."""

    loss: float = 0.0  # share of packets, each on its own
    jitter_ms: float = 0.0  # mean of an exponential delay; packets overtake one another
    seed: int = 0


class Impairment:
    """Stands between aiortc's sender and its transport, behind the sequence numbers. RTCP passes untouched."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._random = random.Random(network.seed)
        self._to_lose = 0
        self._order = 0
        self._delayed: list[tuple[float, int, bytes]] = []  # due, order, packet
        self._changed = asyncio.Event()

    def lose(self, count: int) -> None:
        """Lose the next `count` packets."""
        self._to_lose += count

    async def run(self, transport: RTCDtlsTransport) -> None:
        """Impair what is sent through `transport`, until cancelled."""
        send = transport._send_rtp  # pyright: ignore[reportPrivateUsage] - the seam behind the sequence numbers

        async def send_impaired(data: bytes) -> None:
            if is_rtcp(data):
                await send(data)
            elif self._to_lose:
                self._to_lose -= 1
            elif self._random.random() >= self._network.loss:
                if self._network.jitter_ms:
                    self._delay(data)
                else:
                    await send(data)

        transport._send_rtp = send_impaired  # pyright: ignore[reportPrivateUsage]
        loop = asyncio.get_running_loop()
        while True:
            if not self._delayed:
                self._changed.clear()
                await self._changed.wait()
            wait_s = self._delayed[0][0] - loop.time()
            if wait_s > 0:
                self._changed.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()  # perhaps a packet that is due sooner
                except TimeoutError:
                    pass
                continue
            try:
                await send(heapq.heappop(self._delayed)[2])
            except ConnectionError:
                return

    def _delay(self, data: bytes) -> None:
        delay_s = self._random.expovariate(1000 / self._network.jitter_ms)
        self._order += 1
        heapq.heappush(self._delayed, (asyncio.get_running_loop().time() + delay_s, self._order, data))
        self._changed.set()
