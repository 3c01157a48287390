"""The caller's audio on virtual time: frames, gaps, stalls, and a slow reader."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from numpy.typing import NDArray

from benchmarks.far_end.microphone import encode
from webrtc.config import JitterConfig
from webrtc.interface import MICROPHONE_RATE_HZ, MicrophoneFrame
from webrtc.media.microphone import FRAME_SAMPLES, PacketMicrophone
from webrtc.media.opus import OpusDecoder

InVirtualTime = Callable[[Coroutine[Any, Any, Any]], Any]


def tone(seconds: float, hz: float = 400.0) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(48_000 * seconds)) / 48_000)).astype(np.float32)


def packets(payloads: list[bytes], *, packet_ms: int = 20, ssrc: int = 1) -> list[RtpPacket]:
    made: list[RtpPacket] = []
    for n, payload in enumerate(payloads):
        packet = RtpPacket(payload_type=96, sequence_number=n, timestamp=n * packet_ms * 48)
        packet.ssrc, packet.payload = ssrc, payload
        made.append(packet)
    return made


def new_microphone(capacity_ms: int = 5_000) -> PacketMicrophone:
    return PacketMicrophone(JitterConfig(), OpusDecoder(), capacity_ms=capacity_ms, call_id="test")


async def heard(microphone: PacketMicrophone, stream: list[RtpPacket], *, packet_ms: int = 20) -> list[MicrophoneFrame]:
    """Everything up to the end of the stream, whose packets come in steady time; None is one that does not come."""
    for packet in stream:
        microphone.receive(packet)
        await asyncio.sleep(packet_ms / 1000)
    microphone.close()
    return [frame async for frame in microphone]


def test_any_packet_gives_frames_of_20_ms(in_virtual_time: InVirtualTime) -> None:
    for packet_ms in [10, 20, 40, 60]:
        for channels in [1, 2]:
            stream = packets(encode(tone(1.2), packet_ms=packet_ms, channels=channels), packet_ms=packet_ms)
            frames = in_virtual_time(heard_in(stream, packet_ms))
            assert len(frames) == 60
            assert [frame.position_samples for frame in frames] == [n * FRAME_SAMPLES for n in range(60)]
            assert all(
                frame.samples.shape == (FRAME_SAMPLES,) and frame.samples.dtype == np.float32 for frame in frames
            )
            assert not any(frame.is_concealed for frame in frames)
            samples = np.concatenate([frame.samples for frame in frames])[3_200:16_000]
            assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
            strongest_hz = int(np.argmax(np.abs(np.fft.rfft(samples)))) * MICROPHONE_RATE_HZ / samples.size
            assert strongest_hz == pytest.approx(400, abs=5)


async def heard_in(stream: list[RtpPacket], packet_ms: int = 20) -> list[MicrophoneFrame]:
    return await heard(new_microphone(), stream, packet_ms=packet_ms)


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_a_narrow_microphone_is_heard(in_virtual_time: InVirtualTime, rate: int) -> None:
    samples = (0.3 * np.sin(2 * np.pi * 400 * np.arange(rate) / rate)).astype(np.float32)
    frames = in_virtual_time(heard_in(packets(encode(samples, sample_rate_hz=rate))))
    assert np.sqrt(np.mean(np.concatenate([f.samples for f in frames[5:]]) ** 2)) == pytest.approx(0.21, rel=0.1)


def test_a_frame_is_there_as_soon_as_its_packet_came(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> list[float]:
        microphone, delays = new_microphone(), []
        loop = asyncio.get_running_loop()
        for packet in packets(encode(tone(0.4))):
            microphone.receive(packet)
            sent_s = loop.time()
            await anext(microphone)
            delays.append(loop.time() - sent_s)
            await asyncio.sleep(0.020)
        microphone.close()
        return delays

    assert max(in_virtual_time(scenario())) == 0


def test_a_lost_packet_is_concealed_after_the_hold_and_delays_nothing_after(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> tuple[list[MicrophoneFrame], list[float]]:
        microphone = new_microphone()
        frames: list[MicrophoneFrame] = []
        times: list[float] = []
        loop = asyncio.get_running_loop()
        start_s = loop.time()

        async def read() -> None:
            async for frame in microphone:
                frames.append(frame)
                times.append(loop.time() - start_s)

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            for n, packet in enumerate(packets(encode(tone(0.6)))):
                if n != 10:
                    microphone.receive(packet)
                await asyncio.sleep(0.020)
            microphone.close()
        return frames, times

    frames, times = in_virtual_time(scenario())
    assert [n for n, frame in enumerate(frames) if frame.is_concealed] == [10]
    assert times[10] == pytest.approx(0.220 + 0.010, abs=0.001)  # the packet behind it, and the hold
    assert times[12:] == pytest.approx([n * 0.020 for n in range(12, 30)], abs=0.001)
    joined = np.concatenate([frame.samples for frame in frames])
    assert np.sqrt(np.mean(joined[10 * 320 : 11 * 320] ** 2)) > 0.1


def test_time_goes_on_while_the_network_is_quiet(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> list[MicrophoneFrame]:
        microphone = new_microphone()
        for packet in packets(encode(tone(0.2))):
            microphone.receive(packet)
            await asyncio.sleep(0.020)
        await asyncio.sleep(1.0)
        microphone.close()
        return [frame async for frame in microphone]

    frames = in_virtual_time(scenario())
    assert not any(frame.is_concealed for frame in frames[:10])
    assert all(frame.is_concealed for frame in frames[10:])
    assert len(frames) == pytest.approx(10 + 46, abs=2)  # 1 s less the 80 ms before a stall is one
    assert not frames[-1].samples.any()


def test_a_reader_that_stalls_loses_the_oldest_frames(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> tuple[list[MicrophoneFrame], int]:
        microphone = new_microphone(capacity_ms=200)
        frames = await heard(microphone, packets(encode(tone(1.0))))
        return frames, microphone.dropped_frames

    frames, dropped = in_virtual_time(scenario())
    assert len(frames) == 10
    assert dropped == 40
    assert frames[0].position_samples == 40 * FRAME_SAMPLES


def test_packets_that_are_not_opus_are_concealed(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> tuple[list[MicrophoneFrame], int]:
        microphone = new_microphone()
        payloads = encode(tone(0.2))
        payloads[5] = bytes([payloads[5][0] | 3, 0x41, 0xFE])  # one frame, and more padding than there is packet
        payloads[7] = b"\xff\xff\xff\xff"  # 63 frames: not even a duration
        return await heard(microphone, packets(payloads)), microphone.undecodable_packets

    frames, undecodable = in_virtual_time(scenario())
    assert undecodable == 1
    assert [n for n, frame in enumerate(frames) if frame.is_concealed] == [5, 7]
    assert [frame.position_samples for frame in frames] == [n * FRAME_SAMPLES for n in range(len(frames))]
    assert all(np.isfinite(frame.samples).all() for frame in frames)
    assert len(frames) == 10


def test_a_replaced_stream_goes_on_at_once(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> list[MicrophoneFrame]:
        microphone = new_microphone()
        payloads = encode(tone(0.2))
        for packet in [*packets(payloads, ssrc=1), *packets(payloads, ssrc=2)]:
            microphone.receive(packet)
            await asyncio.sleep(0.020)
        microphone.close()
        return [frame async for frame in microphone]

    frames = in_virtual_time(scenario())
    assert len(frames) == 20
    assert not any(frame.is_concealed for frame in frames)


def test_after_closing_nothing_is_heard_and_no_timer_is_left(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> list[MicrophoneFrame]:
        microphone = new_microphone()
        stream = packets(encode(tone(0.2)))
        microphone.receive(stream[0])
        microphone.close()
        microphone.close()
        microphone.receive(stream[1])
        await asyncio.sleep(1.0)
        return [frame async for frame in microphone]

    assert len(in_virtual_time(scenario())) == 1
