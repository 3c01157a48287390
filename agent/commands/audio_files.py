"""WAV files in and out: any rate, width and number of channels is read; 16-bit mono is written."""

import wave
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import soxr  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from agent.errors import AudioFileError
from webrtc.media.pcm import to_pcm16


def read_wav(path: Path, sample_rate_hz: int) -> NDArray[np.float32]:
    """The file's samples [S] in [-1, 1], mixed to mono and resampled to `sample_rate_hz`.

    Raises:
        AudioFileError: missing, unreadable, or not PCM WAV.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except FileNotFoundError:
        raise AudioFileError(f"{path}: no such file; name a WAV file") from None
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be read ({error.strerror}); check that it is a readable file") from None
    except (wave.Error, EOFError) as error:
        raise AudioFileError(f"{path}: wanted a PCM WAV file, found another format ({error}); convert it") from None
    frame_bytes = width * channels
    samples = _from_pcm(data[: len(data) - len(data) % frame_bytes], width).reshape(-1, channels)  # [S, channels]
    mono = samples.mean(axis=1)  # [S]
    resampled: Any = mono if rate == sample_rate_hz else soxr.resample(mono, rate, sample_rate_hz)
    return np.asarray(resampled, np.float32)


def _from_pcm(data: bytes, width: int) -> NDArray[np.float32]:
    """PCM of 1 to 4 bytes a sample, little endian; one byte is unsigned, as WAV has it."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if width == 3:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, width = padded.tobytes(), 4
    return np.frombuffer(data, f"<i{width}").astype(np.float32) / np.float32(2 ** (8 * width - 1))


class WavFile:
    """A mono 16-bit WAV file that speech is written to as it comes; a context."""

    def __init__(self, path: Path, sample_rate_hz: int) -> None:
        self._path = path
        self._sample_rate_hz = sample_rate_hz

    async def __aenter__(self) -> Self:
        try:
            self._raw = self._path.open("wb")  # closed in __aexit__
        except OSError as error:
            raise AudioFileError(
                f"{self._path}: cannot be written ({error.strerror}); choose a place that can"
            ) from None
        self._file = wave.open(self._raw, "wb")  # noqa: SIM115  # closed in __aexit__
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(self._sample_rate_hz)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._raw.close()

    async def write(self, samples: NDArray[np.float32]) -> None:
        """Append samples [S] in [-1, 1]."""
        self._file.writeframes(to_pcm16(samples).tobytes())
