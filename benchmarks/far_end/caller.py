"""A caller in Python: speaks scripted audio to a server and records what it hears, aligned to CLOCK_MONOTONIC.

Light enough for dozens on a core: what it says is encoded beforehand, what it hears is decoded when asked for, and
aiortc's jitter buffer is bypassed, so that a packet's arrival is the arrival of the datagram.
"""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import numpy as np
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCDtlsTransport,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.rtcconfiguration import RTCBundlePolicy
from aiortc.rtp import RtpPacket
from numpy.typing import NDArray

from benchmarks.far_end.impairment import Impairment, Network
from benchmarks.far_end.microphone import PACKET_MS, ScriptedMicrophone, encode
from benchmarks.far_end.waveform import SAMPLE_RATE_HZ, Recording
from webrtc.media.opus import OpusDecoder, packet_duration_ticks
from webrtc.peer.call import PeerCall
from webrtc.peer.diversion import divert_packets
from webrtc.peer.loopback import offer_loopback
from webrtc.peer.offer import SessionDescription

CONNECT_TIMEOUT_S = 15.0


class CallRefused(Exception):
    """The server answered an offer with an error."""

    def __init__(self, status: int, error: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{status}: {error}")
        self.status = status
        self.error = error
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class HeardPacket:
    """One RTP packet as it came."""

    arrival_s: float  # CLOCK_MONOTONIC
    timestamp: int  # 32 bits, 48 kHz
    payload: bytes


@dataclass(frozen=True, slots=True)
class HeardMessage:
    """One data channel message as it came."""

    arrival_s: float  # CLOCK_MONOTONIC
    text: str


class Caller:
    """One call to a server, from the offer to the hang-up.

    `async with Caller(url) as caller` is connected inside the block and hangs up at its end.
    """

    def __init__(
        self,
        server: str | PeerCall,
        *,
        network: Network | None = None,
        token: str | None = None,
        packet_ms: int = PACKET_MS,
    ) -> None:
        """Prepare a call.

        Args:
            server: address of a server such as http://127.0.0.1:7860, or a PeerCall of this process.
            network: how packets to the server fare.
            token: call token, where the server asks for one.
            packet_ms: duration of the packets that `say` is given or encodes: 10, 20, 40 or 60.
        """
        self.packets: list[HeardPacket] = []  # in order of arrival
        self.messages: list[HeardMessage] = []
        self.pc_id: str | None = None  # the server's name of the call
        self._server = server
        self._token = token
        self._packet_ms = packet_ms
        self._microphone = ScriptedMicrophone(packet_ms)
        self._impairment = Impairment(network or Network())
        self._tasks = asyncio.TaskGroup()
        self._sending: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._connected = asyncio.Event()
        self._channel_open = asyncio.Event()
        self._message_came = asyncio.Event()
        self._messages_read = 0
        self._decoder = OpusDecoder()
        self._decoded: list[NDArray[np.float32]] = []
        self._starts: list[int] = []

    async def __aenter__(self) -> Self:
        offer_loopback()
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        transceiver = self._peer.addTransceiver(self._microphone, direction="sendrecv")
        divert_packets(transceiver.receiver, self._hear)
        self._channel: RTCDataChannel = self._peer.createDataChannel("chat")
        self._channel.on("message", self._on_message)
        self._channel.on("open", self._channel_open.set)
        self._peer.on("connectionstatechange", self._on_connection_state)
        await self._tasks.__aenter__()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._connect()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._peer.close()
        finally:
            if self._sending is not None:
                self._sending.cancel()
            await self._tasks.__aexit__(None, None, None)  # the block's own exception goes on as it is

    async def say(self, samples: NDArray[np.float32], *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
        """Say it after what is being said, from the start of a packet: [S], one channel, 48 or 16 kHz.

        Returns:
            When that first packet left, CLOCK_MONOTONIC. A microphone would have heard its first sample one packet
            before.
        """
        packets = await asyncio.to_thread(encode, samples, sample_rate_hz=sample_rate_hz, packet_ms=self._packet_ms)
        return await self.say_packets(packets)

    async def say_packets(self, packets: list[bytes]) -> float:
        """As `say`, of packets from `encode`: one encoding serves any number of callers."""
        return await self._microphone.say(packets)

    def stop_speaking(self) -> None:
        """Stop speaking with the current packet."""
        self._microphone.stop_speaking()

    def lose_packets(self, count: int) -> None:
        """Lose the next `count` packets on their way to the server."""
        self._impairment.lose(count)

    def send(self, text: str) -> None:
        """Send a message over the data channel."""
        self._channel.send(text)

    async def next_message(self) -> HeardMessage:
        """The oldest message that this has not returned yet."""
        while len(self.messages) <= self._messages_read:
            self._message_came.clear()
            await self._message_came.wait()
        self._messages_read += 1
        return self.messages[self._messages_read - 1]

    async def wait_closed(self) -> None:
        """Wait until the server hangs up."""
        await self._closed.wait()

    async def vanish(self) -> None:
        """Go without a word: not one more packet leaves, neither audio nor a goodbye."""
        self._transport.transport._send = _swallow  # pyright: ignore[reportPrivateUsage]
        await self._peer.close()

    async def renegotiate(self) -> None:
        """Make another offer for the call that is on.

        Raises:
            CallRefused: the server does not take it; the call goes on.
        """
        await self._peer.setLocalDescription(await self._peer.createOffer())
        await self._peer.setRemoteDescription(await self._answer())

    def timeline(self) -> Recording:
        """When packets came, without decoding them; `samples` is empty."""
        starts = np.array(self._starts_since_first(), np.int64)
        arrivals_s = np.array([packet.arrival_s for packet in self.packets], np.float64)
        order = np.argsort(starts, kind="stable")
        return Recording(np.empty(0, np.float32), starts[order], arrivals_s[order])

    def recording(self) -> Recording:
        """What was heard so far, on the server's RTP clock: a missing packet is a hole of zeros."""
        for packet in self.packets[len(self._decoded) :]:
            self._decoded.append(self._decoder.decode(packet.payload))
        timeline = self.timeline()
        starts = self._starts_since_first()
        ends = [start + len(heard) for start, heard in zip(starts, self._decoded, strict=True)]
        samples = np.zeros(max(ends, default=0), np.float32)
        for start, heard in zip(starts, self._decoded, strict=True):
            samples[start : start + len(heard)] = heard
        return Recording(samples, timeline.packet_starts, timeline.arrivals_s)

    async def _connect(self) -> None:
        await self._peer.setLocalDescription(await self._peer.createOffer())
        await self._peer.setRemoteDescription(await self._answer())
        [transceiver] = self._peer.getTransceivers()
        self._transport: RTCDtlsTransport = transceiver.sender.transport
        self._sending = self._tasks.create_task(self._impairment.run(self._transport))
        await self._connected.wait()
        await self._channel_open.wait()

    async def _answer(self) -> RTCSessionDescription:
        offer = self._peer.localDescription
        if isinstance(self._server, PeerCall):
            answer = await self._server.answer(SessionDescription(offer.sdp, offer.type))
            return RTCSessionDescription(sdp=answer.sdp, type=answer.type)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        body = {"sdp": offer.sdp, "type": offer.type, "pc_id": self.pc_id}
        timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.post(f"{self._server.rstrip('/')}/api/offer", json=body) as response,
        ):
            if response.status != 200:
                raise await _refusal(response)
            reply = await response.json()
        self.pc_id = reply["pc_id"]
        return RTCSessionDescription(sdp=reply["sdp"], type=reply["type"])

    def _hear(self, packet: RtpPacket) -> None:
        if packet_duration_ticks(packet.payload):
            self.packets.append(HeardPacket(time.monotonic(), packet.timestamp, packet.payload))

    def _on_message(self, message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode(errors="replace")
        self.messages.append(HeardMessage(time.monotonic(), text))
        self._message_came.set()

    def _on_connection_state(self) -> None:
        if self._peer.connectionState == "connected":
            self._connected.set()
        elif self._peer.connectionState in ("failed", "closed"):
            self._closed.set()

    def _starts_since_first(self) -> list[int]:
        """Of each packet, in order of arrival: its place in samples on the server's RTP clock, from 0 on."""
        for packet in self.packets[len(self._starts) :]:
            if not self._starts:
                self._starts.append(0)
                continue
            step = packet.timestamp - self.packets[len(self._starts) - 1].timestamp
            self._starts.append(self._starts[-1] + (step + (1 << 31)) % (1 << 32) - (1 << 31))  # the clock wraps
        first = min(self._starts, default=0)
        return [start - first for start in self._starts]


async def _swallow(data: bytes) -> None:
    del data


async def _refusal(response: aiohttp.ClientResponse) -> CallRefused:
    try:
        error = str((await response.json())["error"])
    except (aiohttp.ContentTypeError, ValueError, LookupError, TypeError):
        error = response.reason or "no reason given"
    retry_after = response.headers.get("Retry-After")
    return CallRefused(response.status, error, int(retry_after) if retry_after else None)
