"""The state of all utterances being spoken, one slot each: cache pages, hidden state, noise, codec tails.

A slot's hidden state is that from which its next frame will be drawn. Drawing changes nothing, so a frame may be
dropped and drawn again: only `FrameBatch.decode` and `advance` move a slot on, and only those that the step commits.
Slot number `count` is idle: padding rows of a batch point at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from llm.runtime.attention import Segment
from llm.runtime.backend import AttentionBackend, default_backend
from llm.runtime.cache import PagedCache, Prefix
from tts.voxtral.model import VoxtralTTS

NOISE_FRAMES = 64  # frames of noise drawn at once
DEFAULT_GUIDANCE = 1.2
DEFAULT_MAX_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Start:
    """An utterance about to begin."""

    slot: int
    voice: str
    text_ids: Sequence[int]
    seed: int  # of its noise
    guidance: float = DEFAULT_GUIDANCE


class SpeechSlots:
    """Static state for `count` utterances on the model's device.

    Attributes:
        hidden: [count + 1, D], the state each slot's next frame is drawn from.
        positions: [count + 1] int64, tokens of each slot in the cache.
        frames: [count + 1] int64, frames spoken so far.
        noise: [count + 1, NOISE_FRAMES, A] float32, the latents of the next frames at flow time 0.
        guidance: [count + 1, 1] float32.
    """

    def __init__(
        self,
        model: VoxtralTTS,
        *,
        count: int,
        pages: int,
        page_tokens: int = 32,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        attention_backend: AttentionBackend | None = None,
    ) -> None:
        """State of so many slots, with `pages` cache pages among them.

        Args:
            model: what speaks.
            count: most utterances at once.
            pages: cache pages of `page_tokens` tokens, shared by slots and voices.
            page_tokens: a power of two, at least 16 on CUDA.
            max_tokens: most tokens of one utterance, prompt and frames.
            attention_backend: how a step reads the cache; by default as suits the device.
        """
        config = model.config
        template = model.schedule.tokens
        self.model = model
        self.count = count
        self.device = template.device
        self.attention_backend: AttentionBackend = attention_backend or default_backend(self.device)
        self.cache = PagedCache(
            config.backbone,
            rows=count,
            pages=pages,
            max_tokens=max_tokens,
            page_tokens=page_tokens,
            device=self.device,
            dtype=template.dtype,
        )
        self.codec_state = model.codec.start(count + 1)
        self.hidden = template.new_zeros((count + 1, config.backbone.dim))
        self.positions = torch.zeros(count + 1, dtype=torch.int64, device=self.device)
        self.frames = torch.zeros_like(self.positions)
        self.noise = torch.zeros((count + 1, NOISE_FRAMES, config.codebooks.acoustic), device=self.device)
        self.guidance = torch.ones((count + 1, 1), device=self.device)
        self._voices: dict[str, Prefix] = {}
        self._tokens = [0] * count  # the host's copies of positions and frames
        self._spoken = [0] * count
        self._generators = [torch.Generator() for _ in range(count)]

    @property
    def free_pages(self) -> int:
        """Cache pages that are free."""
        return self.cache.free_pages

    def pages_for(self, voice: str, text_tokens: int, frames: int) -> int:
        """Free pages that an utterance takes: of its voice, so many text ids and at most so many frames."""
        shared = self._voices.get(voice)
        prompt = self.model.prompt_tokens(voice, range(text_tokens))
        pages = self.cache.pages_for(prompt + frames, shared)
        return pages if shared else pages + self.cache.pages_for(len(self.model.voice_part(voice)))

    def tokens(self, slot: int) -> int:
        """Tokens of that slot in the cache."""
        return self._tokens[slot]

    def spoken_frames(self, slot: int) -> int:
        """Frames that slot has spoken."""
        return self._spoken[slot]

    @torch.inference_mode()
    def warm(self, voice: str, slot: int) -> None:
        """Run the voice's part of the prompt, if it is not resident, through that free slot; it is free afterwards.

        Raises:
            CacheFull: no room; nothing has changed.
        """
        if voice in self._voices:
            return
        ids = self.model.voice_part(voice)
        self.cache.open(slot)
        try:
            self.cache.grow(slot, len(ids))
            self.model.backbone.prefill(self.model.embed_prompt(ids, voice), [Segment(slot, 0, len(ids))], self.cache)
            self._voices[voice] = self.cache.remember(slot, len(ids))
        finally:
            self.cache.close(slot)

    @torch.inference_mode()
    def start(self, starts: Sequence[Start]) -> None:
        """Begin utterances in free slots: their texts are run together, their voices only if not yet resident.

        Raises:
            CacheFull: no room for all of them; none has begun.
        """
        parts: list[Segment] = []
        packed: list[int] = []
        try:
            for start in starts:
                self.warm(start.voice, start.slot)
                begin = self.cache.open(start.slot, self._voices[start.voice])
                ids = self.model.special_tokens.text_part(start.text_ids)
                parts.append(Segment(start.slot, begin, len(ids)))
                self.cache.grow(start.slot, begin + len(ids))
                packed += ids
        except BaseException:
            for part in parts:
                self.cache.close(part.row)
            raise
        backbone = self.model.backbone
        hidden = backbone.prefill(backbone.embed(torch.tensor(packed, device=self.device)), parts, self.cache)
        ends = torch.tensor([part.tokens for part in parts]).cumsum(0) - 1
        slots = torch.tensor([start.slot for start in starts], device=self.device)
        self.hidden[slots] = hidden[ends.to(self.device)]
        self.positions[slots] = torch.tensor([part.start + part.tokens for part in parts], device=self.device)
        self.frames[slots] = 0
        self.guidance[slots] = torch.tensor([[start.guidance] for start in starts], device=self.device)
        self.codec_state.reset(slots)
        for start, part in zip(starts, parts, strict=True):
            self._tokens[start.slot] = part.start + part.tokens
            self._spoken[start.slot] = 0
            self._generators[start.slot].manual_seed(start.seed)
            self.draw_noise(start.slot)

    def draw_noise(self, slot: int) -> None:
        """The slot's next NOISE_FRAMES latents at flow time 0, from its own generator."""
        on_device = self.device.type == "cuda"
        noise = torch.randn(self.noise.shape[1:], generator=self._generators[slot], pin_memory=on_device)
        self.noise[slot].copy_(noise, non_blocking=True)

    def reserve(self, slot: int) -> None:
        """See to it that the slot's next frame has a place in the cache.

        Raises:
            CacheFull: no page is free or the utterance is as long as one may be; its state is as it was.
        """
        self.cache.grow(slot, self._tokens[slot] + 1)

    def count_frame(self, slot: int) -> None:
        """Note on the host that the slot moves on by a frame."""
        self._tokens[slot] += 1
        self._spoken[slot] += 1
        if self._spoken[slot] % NOISE_FRAMES == 0:
            self.draw_noise(slot)

    def free(self, slot: int) -> None:
        """End the slot's utterance; its pages are free at once. Twice is harmless."""
        self.cache.close(slot)
