"""Samples as the bytes of the protocols and back: another rate, PCM of several widths, WAV, base64."""

import base64
import struct
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, Literal, cast

import numpy as np
import soxr  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from tts.interface import SpeechChunk
from webrtc.http.errors import RequestRefused
from webrtc.media.pcm import to_pcm16

Samples = NDArray[np.float32]
PcmEncoding = Literal["pcm_s16le", "pcm_s32le", "pcm_f16le", "pcm_f32le"]
Encoding = Literal["pcm_s16le", "pcm_f32le"]  # of speech

_DTYPES: dict[PcmEncoding, str] = {"pcm_s16le": "<i2", "pcm_s32le": "<i4", "pcm_f16le": "<f2", "pcm_f32le": "<f4"}

_UNKNOWN_SIZE = 0xFFFF_FFFF  # of a WAV file whose end is not known yet: players read on until the stream ends
_HEADER_BYTES = 44
_SAMPLE_BYTES = 2


async def resample(chunks: AsyncIterable[SpeechChunk], from_hz: int, to_hz: int) -> AsyncGenerator[Samples, None]:
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
    if encoding == "pcm_s16le":
        return to_pcm16(samples).tobytes()
    return np.clip(samples, -1.0, 1.0).astype("<f4").tobytes()


def wav_header(sample_rate_hz: int, data_bytes: int | None) -> bytes:
    """The 44 bytes before 16-bit mono PCM; None is a stream, whose length is not known yet."""
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


def decode(audio: object, encoding: PcmEncoding) -> Samples:
    """Base64 of little-endian mono PCM as samples [S] in [-1, 1], at least one.

    Raises:
        RequestRefused: 400, not that.
    """
    dtype = np.dtype(_DTYPES[encoding])
    try:
        pcm = base64.b64decode(audio, validate=True) if isinstance(audio, str) else b""
    except ValueError:  # binascii.Error, and text beyond ASCII
        pcm = b""
    if not pcm or len(pcm) % dtype.itemsize:
        raise RequestRefused(400, f"wanted base64 of mono {encoding}, found something else", code="invalid_audio")
    samples = np.frombuffer(pcm, dtype).astype(np.float32)
    if dtype.kind == "i":
        return samples / np.float32(2 ** (8 * dtype.itemsize - 1))
    if not np.isfinite(samples).all():
        raise RequestRefused(400, "wanted finite samples in [-1, 1], found NaN or infinity", code="invalid_audio")
    return np.clip(samples, -1.0, 1.0)
