"""One stream's decoding inside the pocketsphinx process: utterances, partials, finals, comfort noise."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.interface import SAMPLE_RATE_HZ
from asr.sphinx.decoder import DecodedSegment, DecoderPool, SphinxDecoder, is_decoy

FRAME_SAMPLES = SAMPLE_RATE_HZ // 100  # the acoustic model's frame, 10 ms
PARTIAL_INTERVAL_SAMPLES = SAMPLE_RATE_HZ * 80 // 1000

_NOISE_SECONDS = 8
_FULL_SCALE = 32768.0

UNKNOWN = "…"  # stands in the text for speech from outside the domain

_REPEATED_UNKNOWN = re.compile(rf"{UNKNOWN}(?: {UNKNOWN})+")

# Where a final is as likely outside the domain as in it; a measured 2 % of what was rightly understood lies below.
_DOUBTFUL_EVIDENCE = 1.2

Publish = Callable[[dict[str, Any]], None]


def comfort_noise(dbfs: float) -> NDArray[np.float32]:
    """Pink noise of this level, 16-bit scale, [8 s]: without it digital silence upsets the cepstral mean."""
    white = np.fft.rfft(np.random.default_rng(seed=1).standard_normal(_NOISE_SECONDS * SAMPLE_RATE_HZ))
    frequency = np.maximum(np.arange(white.size), 1)
    pink = np.fft.irfft(white / np.sqrt(frequency))
    return (pink / np.sqrt(np.mean(pink**2)) * 10 ** (dbfs / 20) * _FULL_SCALE).astype(np.float32)


@dataclass
class _Utterance:
    decoder: SphinxDecoder
    start: int  # samples pushed before it
    published: str
    published_at: int  # samples pushed at the last partial


class DecodingStream:
    """One stream; transcripts go to `publish` as they arise."""

    def __init__(self, pool: DecoderPool, noise: NDArray[np.float32], publish: Publish) -> None:
        self._pool = pool
        self._noise = noise
        self._publish = publish
        self._pushed = 0
        self._cepstral_mean: str | None = None  # of this caller; a decoder serves many
        self._utterance: _Utterance | None = None

    def push(self, samples: NDArray[np.int16]) -> None:
        """Decode samples; publish a partial if the words have changed, at most one per interval."""
        if self._utterance is None:
            self._utterance = _Utterance(self._pool.take(self._cepstral_mean), self._pushed, "", self._pushed)
            self._utterance.decoder.start_utt()
        noise = self._noise[(self._pushed + np.arange(len(samples))) % len(self._noise)]
        noisy = np.clip(samples + noise, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
        self._utterance.decoder.process_raw(noisy.tobytes())
        self._pushed += len(samples)
        if self._pushed - self._utterance.published_at >= PARTIAL_INTERVAL_SAMPLES:
            self._publish_partial(self._utterance)

    def flush(self) -> None:
        """End the utterance and publish its final."""
        utterance, self._utterance = self._utterance, None
        if utterance is None:
            self._publish({"text": "", "is_final": True, "start": self._pushed, "end": self._pushed})
            return
        decoder = utterance.decoder
        decoder.end_utt()
        segments = [segment for segment in decoder.seg() or () if not segment.word.startswith(("<", "["))]
        words = [
            (
                _plain(segments[0].word),
                utterance.start + segments[0].start_frame * FRAME_SAMPLES,
                min(utterance.start + (segments[-1].end_frame + 1) * FRAME_SAMPLES, self._pushed),
            )
            for segments in _join_unknown(segments)
        ]
        final = {
            "text": " ".join(word for word, _, _ in words),
            "is_final": True,
            "start": utterance.start,
            "end": self._pushed,
            "words": words,
            "confidence": confidence(segments) if segments else None,
        }
        self._cepstral_mean = decoder.get_cmn()
        self._pool.release(decoder)
        self._publish(final)

    def close(self) -> None:
        """Give the decoder back, whatever was in flight."""
        if self._utterance is not None:
            self._utterance.decoder.end_utt()
            self._pool.release(self._utterance.decoder)
            self._utterance = None

    def _publish_partial(self, utterance: _Utterance) -> None:
        hypothesis = utterance.decoder.hyp()
        words = (_plain(word) for word in hypothesis.hypstr.split()) if hypothesis else ()
        text = _REPEATED_UNKNOWN.sub(UNKNOWN, " ".join(words))
        if text != utterance.published:
            utterance.published, utterance.published_at = text, self._pushed
            self._publish({"text": text, "is_final": False, "start": utterance.start, "end": self._pushed})


def confidence(segments: Sequence[DecodedSegment]) -> float:
    """How far to trust a final, 0 to 1: 0.5 where it is as likely to come from outside the domain.

    The evidence is the posterior of the least certain word and the share of the time that no decoy has taken.
    """
    frames = [segment.end_frame - segment.start_frame + 1 for segment in segments]
    known = sum(count for segment, count in zip(segments, frames, strict=True) if not is_decoy(segment.word))
    least = math.log10(max(min(segment.prob for segment in segments), 1e-6))
    evidence = least + 2.0 * known / sum(frames)
    return 1.0 / (1.0 + 10.0 ** (2.0 * (_DOUBTFUL_EVIDENCE - evidence)))


def _plain(word: str) -> str:
    return UNKNOWN if is_decoy(word) else word.partition("(")[0]  # "the(2)" is a second pronunciation


def _join_unknown(segments: Iterable[DecodedSegment]) -> Iterator[list[DecodedSegment]]:
    """The segments one by one, but decoys that follow each other together."""
    for is_unknown, group in groupby(segments, key=lambda segment: is_decoy(segment.word)):
        if is_unknown:
            yield [*group]
        else:
            yield from ([segment] for segment in group)
