"""Opus both ways: durations by header, delay, channels, silence, nonsense."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.far_end.microphone import encode
from webrtc.media.opus import (
    ENCODER_DELAY_MS,
    PACKET_SAMPLES,
    OpusDecoder,
    OpusEncoder,
    packet_duration_ticks,
)


def noise(count: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def decoded(packets: list[bytes]) -> NDArray[np.float32]:
    decoder = OpusDecoder()
    return np.concatenate([decoder.decode(packet) for packet in packets])


def encoded(samples: NDArray[np.float32]) -> list[bytes]:
    encoder = OpusEncoder(32_000)
    return [encoder.encode(samples[i : i + PACKET_SAMPLES]) for i in range(0, len(samples), PACKET_SAMPLES)]


def test_duration_is_that_of_the_decoded_samples() -> None:
    for packet_ms in [10, 20, 40, 60]:
        for rate in [8_000, 16_000, 48_000]:
            for channels in [1, 2]:
                packets = encode(noise(rate // 2), sample_rate_hz=rate, packet_ms=packet_ms, channels=channels)
                decoder = OpusDecoder()
                for packet in packets:
                    assert packet_duration_ticks(packet) == packet_ms * 48
                    assert decoder.decode(packet).shape == (packet_ms * 48,)


def test_no_duration_without_an_opus_header() -> None:
    for nonsense in [b"", b"\x03", b"\xff\x3f", b"\x1b\x40"]:
        assert packet_duration_ticks(nonsense) == 0


def test_a_packet_that_is_not_opus_is_refused_and_the_next_one_decoded() -> None:
    decoder = OpusDecoder()
    with pytest.raises(ValueError, match="not an Opus packet"):
        decoder.decode(b"\xff\xff\xff\xff")
    assert decoder.decode(encode(noise(960))[0]).shape == (960,)


def test_stereo_is_mixed_down() -> None:
    samples = noise(48_000)
    mono, stereo = decoded(encode(samples)), decoded(encode(samples, channels=2))
    assert np.sqrt(np.mean(stereo**2)) == pytest.approx(np.sqrt(np.mean(mono**2)), rel=0.1)


def test_the_encoder_holds_back_as_much_as_it_says() -> None:
    speech = noise(24_000)
    heard = decoded(encoded(speech))[::2]
    size = 2 * len(speech)
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(speech, size).conj())
    assert int(np.argmax(correlation)) / 24 == pytest.approx(ENCODER_DELAY_MS, abs=0.1)


def test_silence_settles_to_one_repeated_packet_and_speech_comes_back_whole() -> None:
    speech = noise(24_000)
    packets = encoded(np.concatenate((speech, np.zeros(48_000, np.float32), speech)))  # 50, 100 and 50 packets
    assert len(set(packets[100:150])) == 1
    assert len(packets[149]) < 10
    heard = decoded(packets)
    power = [float(np.mean(part**2)) for part in (heard[4_800:48_000], heard[60_000:144_000], heard[148_800:])]
    assert power[1] < 1e-8
    assert power[2] == pytest.approx(power[0], rel=0.1)
