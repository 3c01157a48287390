"""Samples of an engine as the bytes that clients ask for: another rate, PCM of 16 bits or floats, WAV."""

import struct
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, Literal, cast

import numpy as np
import soxr  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from agent.audio_files import to_pcm16
from tts.interface import SpeechChunk

Samples = NDArray[np.float32]
Encoding = Literal["pcm16", "float32"]

_UNKNOWN_SIZE = 0xFFFF_FFFF  # of a WAV file whose end is not known yet: players read on until the stream ends
_HEADER_BYTES = 44
_SAMPLE_BYTES = 2


async def resampled(chunks: AsyncIterable[SpeechChunk], from_hz: int, to_hz: int) -> AsyncGenerator[Samples, None]:
    """The chunks' samples [S] in [-1, 1] at another rate; none of the blocks is empty."""
    if from_hz == to_hz:
        async for chunk in chunks:
            if chunk.samples.size:
                yield chunk.samples
        return
    stream: Any = soxr.ResampleStream(from_hz, to_hz, 1)
    async for chunk in chunks:
        block = cast(Samples, stream.resample_chunk(chunk.samples))
        if block.size:
            yield block
    rest = cast(Samples, stream.resample_chunk(np.zeros(0, np.float32), last=True))
    if rest.size:
        yield rest


def encode(samples: Samples, encoding: Encoding) -> bytes:
    """Samples [S] as little-endian PCM; louder ones than 1 are clipped."""
    if encoding == "pcm16":
        return to_pcm16(samples).tobytes()
    return np.clip(samples, -1.0, 1.0).astype("<f4").tobytes()


def wav_header(sample_rate_hz: int, data_bytes: int | None) -> bytes:
    """The 44 bytes before 16-bit mono PCM; None is a stream, whose length nobody knows."""
    riff_bytes = _UNKNOWN_SIZE if data_bytes is None else _HEADER_BYTES - 8 + data_bytes
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff_bytes,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        sample_rate_hz,
        sample_rate_hz * _SAMPLE_BYTES,
        _SAMPLE_BYTES,
        8 * _SAMPLE_BYTES,
        b"data",
        _UNKNOWN_SIZE if data_bytes is None else data_bytes,
    )
