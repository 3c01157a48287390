"""WAV files of every kind in, 16-bit mono out."""

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.commands.audio_files import WavFile, read_wav
from agent.errors import AudioFileError


def tone(rate_hz: int, seconds: float = 0.5) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)


def pcm(samples: NDArray[np.float64], width: int) -> bytes:
    if width == 1:
        return np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    integers = np.round(samples * (2 ** (8 * width - 1) - 1)).astype("<i8")
    return integers.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()


def write(path: Path, samples: NDArray[np.float64], *, rate_hz: int, width: int = 2, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(pcm(np.repeat(samples, channels), width))
    return path


def test_every_width_and_channel_count(tmp_path: Path) -> None:
    for channels in (1, 2):
        for width in (1, 2, 3, 4):
            expected = tone(16_000)
            found = read_wav(
                write(tmp_path / "a.wav", expected, rate_hz=16_000, width=width, channels=channels), 16_000
            )
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=0.01)


def test_every_rate(tmp_path: Path) -> None:
    for rate_hz in (8_000, 22_050, 44_100, 48_000):
        found = read_wav(write(tmp_path / "a.wav", tone(rate_hz), rate_hz=rate_hz), 16_000)
        assert len(found) == pytest.approx(8_000, abs=2)
        middle = slice(1_000, 7_000)
        np.testing.assert_allclose(found[middle], tone(16_000)[middle], atol=0.02)


def test_an_empty_file(tmp_path: Path) -> None:
    assert len(read_wav(write(tmp_path / "a.wav", np.zeros(0), rate_hz=8_000), 16_000)) == 0


def test_a_file_that_is_not_wav(tmp_path: Path) -> None:
    for data in (b"", b"RIFF", b"not audio at all, but long enough to look like it" * 4):
        path = tmp_path / "a.wav"
        path.write_bytes(data)
        with pytest.raises(AudioFileError, match="wanted a PCM WAV file"):
            read_wav(path, 16_000)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="no such file"):
        read_wav(tmp_path / "absent.wav", 16_000)


async def test_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    samples = tone(24_000).astype(np.float32)
    async with WavFile(path, 24_000) as file:
        await file.write(samples[:5_000])
        await file.write(samples[5_000:])
    np.testing.assert_allclose(read_wav(path, 24_000), samples, atol=1e-4)


async def test_too_loud_is_clipped_not_wrapped(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    async with WavFile(path, 24_000) as file:
        await file.write(np.array([2.0, -2.0], np.float32))
    np.testing.assert_allclose(read_wav(path, 24_000), [1, -1], atol=1e-3)


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="cannot be written"):
        async with WavFile(tmp_path / "no" / "such.wav", 24_000):
            pass
