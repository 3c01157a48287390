"""The state of all streams being heard, one slot each: cache pages, the tails of audio, mel and stem, the last token.

Every stream begins with the same silence, so its state after that is made once for each delay and copied. Slot number
`count` is idle: padding rows of a batch point at it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.voxtral.encoder import FRAMES
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.stem import INNER_TAIL, MEL_TAIL
from asr.voxtral.timing import KEPT_SAMPLES, MAX_DELAY, START
from llm.runtime.architecture import DecoderConfig
from llm.runtime.backend import AttentionBackend, default_backend
from llm.runtime.cache import PagedCache, Prefix

PAGE_TOKENS = {"cpu": 256, "cuda": 32}  # a CPU reads a row's pages in place if they lie side by side


@dataclass(frozen=True, slots=True)
class _Start:
    """A stream's state after the silence before its audio. The audio's own tail is zeros."""

    encoder: Prefix
    decoder: Prefix
    mel_tail: Tensor  # [MEL_TAIL, mels]
    inner_tail: Tensor  # [INNER_TAIL, encoder D]


class ListeningSlots:
    """Static state for `count` streams on the model's device.

    Attributes:
        samples: [count + 1, KEPT_SAMPLES] float32, the audio that the next step shares with the last.
        mel_tail, inner_tail: [count + 1, MEL_TAIL, mels] and [count + 1, INNER_TAIL, encoder D], see `stem.py`.
        positions: [count + 1] int64, steps behind each stream.
        tokens: [count + 1] int64, the token at each stream's next position.
        delays: [count + 1] int64, in steps.
        blanks: [count + 1] int64, how many of the newest tokens are blank.
    """

    def __init__(
        self,
        model: VoxtralRealtime,
        *,
        count: int,
        tokens_per_slot: int,
        page_tokens: int | None = None,
        attention_backend: AttentionBackend | None = None,
    ) -> None:
        """State of so many slots.

        Args:
            model: what listens.
            count: most streams at once.
            tokens_per_slot: mean number of decoder positions of a stream; all slots share the room.
            page_tokens: a power of two, at least 16 on CUDA; by default as suits the device.
            attention_backend: how a step reads the caches; by default as suits the device.
        """
        config, device, dtype = model.config, model.device, model.dtype
        self.model = model
        self.count = count
        self.device = device
        self.attention_backend: AttentionBackend = attention_backend or default_backend(device)

        size = page_tokens or PAGE_TOKENS[device.type]

        def pages(tokens: int) -> int:
            return -(-tokens // size)

        def cache(shape: DecoderConfig, step_tokens: int, total_pages: int) -> PagedCache:
            return PagedCache(
                shape,
                rows=count,
                pages=total_pages,
                max_tokens=step_tokens,
                page_tokens=size,
                device=device,
                dtype=dtype,
            )

        assert config.encoder.window is not None
        assert config.decoder.window is not None
        self._ring_tokens = config.encoder.window + FRAMES - 1  # full after 15 s: each slot has all of its own
        ring = pages(self._ring_tokens)
        self.encoder_cache = cache(config.encoder, FRAMES, count * ring + pages(START * FRAMES))
        share = min(pages(config.decoder.window), pages(tokens_per_slot))
        self.decoder_cache = cache(config.decoder, 1, count * share + MAX_DELAY * pages(START))
        rows = count + 1
        self.samples = torch.zeros((rows, KEPT_SAMPLES), device=device)
        self.mel_tail = torch.zeros((rows, MEL_TAIL, config.mels), device=device, dtype=dtype)
        self.inner_tail = torch.zeros((rows, INNER_TAIL, config.encoder.dim), device=device, dtype=dtype)
        self.positions = torch.zeros(rows, dtype=torch.int64, device=device)
        self.tokens = torch.zeros_like(self.positions)
        self.delays = torch.zeros_like(self.positions)
        self.blanks = torch.zeros_like(self.positions)
        self._steps = [0] * count  # the host's copy of positions
        self._starts: dict[int, _Start] = {}
        self._encoded_silence: Prefix | None = None  # the same for every delay

    def steps(self, slot: int) -> int:
        """Steps behind the slot's stream, those of the silence before its audio included."""
        return self._steps[slot]

    @torch.inference_mode()
    def warm(self, delay: int, slot: int, step: Callable[[], object]) -> None:
        """Make the start of streams with that delay, if it is not made, in a free slot; it is free afterwards.

        Args:
            delay: in steps.
            slot: any that is free.
            step: runs one step of this slot on 80 ms of silence.

        Raises:
            CacheFull: no room; nothing has changed.
        """
        if delay in self._starts:
            return
        self._open(slot, delay, None)
        try:
            for _ in range(START):
                self.reserve(slot)
                step()
            if self._encoded_silence is None:
                self._encoded_silence = self.encoder_cache.remember(slot, START * FRAMES)
            self._starts[delay] = _Start(
                self._encoded_silence,
                self.decoder_cache.remember(slot, START),
                self.mel_tail[slot].clone(),
                self.inner_tail[slot].clone(),
            )
        finally:
            self.free(slot)

    @torch.inference_mode()
    def start(self, slot: int, delay: int) -> None:
        """Begin a stream in a free slot, at the first position that hears audio.

        Raises:
            CacheFull: no room; the slot is free.
        """
        try:
            self._open(slot, delay, self._starts[delay])
        except BaseException:
            self.free(slot)
            raise

    def _open(self, slot: int, delay: int, start: _Start | None) -> None:
        self.encoder_cache.open(slot, start and start.encoder)
        self.encoder_cache.grow(slot, self._ring_tokens)
        self.decoder_cache.open(slot, start and start.decoder)
        special = self.model.special_tokens
        self.samples[slot] = 0.0
        self.mel_tail[slot] = start.mel_tail if start else 0.0
        self.inner_tail[slot] = start.inner_tail if start else 0.0
        self._steps[slot] = START if start else 0
        # `= number` would copy it from the host, and wait
        self.positions[slot].fill_(self._steps[slot])
        self.tokens[slot].fill_(special.blank if start else special.bos)
        self.delays[slot].fill_(delay)
        self.blanks[slot].fill_(0)

    def reserve(self, slot: int) -> None:
        """See to it that the slot's next step has a place in the decoder's cache.

        Raises:
            CacheFull: no page is free; the stream is as it was.
        """
        self.decoder_cache.grow(slot, self._steps[slot] + 1)

    def count_step(self, slot: int) -> None:
        """Note on the host that the slot moves on by a step."""
        self._steps[slot] += 1

    def free(self, slot: int) -> None:
        """End the slot's stream; its pages are free at once. Twice is harmless."""
        self.encoder_cache.close(slot)
        self.decoder_cache.close(slot)
