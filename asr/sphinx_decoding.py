"""One stream's decoding inside the pocketsphinx process: utterances, partials, finals, comfort noise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.interface import SAMPLE_RATE_HZ
from asr.sphinx_decoder import Decoder, DecoderPool

FRAME_SAMPLES = SAMPLE_RATE_HZ // 100  # the acoustic model's frame, 10 ms
PARTIAL_INTERVAL_SAMPLES = SAMPLE_RATE_HZ * 80 // 1000

_NOISE_SECONDS = 8
_FULL_SCALE = 32768.0

# Posterior at which a final is as likely outside the domain as in it: measured on synthetic speech of both kinds.
_DOUBTFUL = 3e-3

Publish = Callable[[dict[str, Any]], None]


def comfort_noise(dbfs: float) -> NDArray[np.float32]:
    """Pink noise of this level, 16-bit scale, [8 s]: without it digital silence upsets the cepstral mean."""
    white = np.fft.rfft(np.random.default_rng(seed=1).standard_normal(_NOISE_SECONDS * SAMPLE_RATE_HZ))
    frequency = np.maximum(np.arange(white.size), 1)
    pink = np.fft.irfft(white / np.sqrt(frequency))
    return (pink / np.sqrt(np.mean(pink**2)) * 10 ** (dbfs / 20) * _FULL_SCALE).astype(np.float32)


@dataclass
class _Utterance:
    decoder: Decoder
    start: int  # samples pushed before it
    published: str
    published_at: int  # samples pushed at the last partial


class Stream:
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
        words = [
            (
                segment.word.partition("(")[0],  # "the(2)" is a second pronunciation
                utterance.start + segment.start_frame * FRAME_SAMPLES,
                min(utterance.start + (segment.end_frame + 1) * FRAME_SAMPLES, self._pushed),
            )
            for segment in decoder.seg() or ()
            if not segment.word.startswith(("<", "["))  # silence and noise
        ]
        hypothesis = decoder.hyp()
        final = {
            "text": " ".join(word for word, _, _ in words),
            "is_final": True,
            "start": utterance.start,
            "end": self._pushed,
            "words": words,
            "confidence": confidence(hypothesis.prob) if hypothesis and words else None,
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
        text = hypothesis.hypstr if hypothesis else ""
        if text != utterance.published:
            utterance.published, utterance.published_at = text, self._pushed
            self._publish({"text": text, "is_final": False, "start": utterance.start, "end": self._pushed})


def confidence(probability: float) -> float:
    """How far to trust a final, 0 to 1, from pocketsphinx's posterior of its best path."""
    return probability / (probability + _DOUBTFUL)
