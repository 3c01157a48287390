"""Our speech engine: Voxtral TTS for many calls at once on one device, behind the interface of any synthesizer."""

import logging
import math
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from llm.runtime.loop.engine import LoopEngine
from llm.runtime.loop.graphs import buckets
from llm.runtime.loop.outlet import Outlets
from llm.runtime.loop.step_loop import StepLoop
from llm.runtime.weights.quantize import quantize
from tts.interface import (
    LanguageNotSupported,
    TextRejected,
    Utterance,
    Voice,
    VoiceNotFound,
)
from tts.voices import LANGUAGES, find_voice
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import SpeechSlots
from tts.voxtral.stepper import SpeechCounters, SpeechStepper
from tts.voxtral.utterance import ERRORS, UtteranceRequest, VoxtralUtterance

if TYPE_CHECKING:  # the settings need pydantic, which is not beside every GPU
    from tts.config import VoxtralTTSConfig

_log = logging.getLogger(__name__)

PAGE_TOKENS = 32
AUDIO_FILES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a")


class VoxtralSynthesizer(LoopEngine[SpeechStepper]):
    """Voxtral TTS on a step loop, which it may share with other engines. Use as `async with`."""

    errors = ERRORS

    def __init__(self, config: "VoxtralTTSConfig", loop: StepLoop, model: VoxtralTTS | None = None) -> None:
        """Nothing is loaded before the context is entered; a `model` given is used in place of the checkpoint's."""
        super().__init__(loop)
        self._config = config
        self._model = model

    @property
    def sample_rate_hz(self) -> int:
        """Rate of every chunk's samples."""
        return self._running.model.config.codec.sample_rate_hz

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices of the checkpoint."""
        return self._running.model.voices

    @property
    def counters(self) -> SpeechCounters:
        """What the engine has done since it was started."""
        return self._running.counters

    def speak(self, text: str, *, voice: str, language: str) -> Utterance:
        """An utterance of `text`; see `tts.interface.Synthesizer`."""
        model = self._running.model
        if voice.lower().endswith(AUDIO_FILES):
            raise VoiceNotFound(
                f"{voice}: a voice cannot be cloned with the released weights, which lack the codec's encoder; "
                f"choose one of {', '.join(known.name for known in model.voices)}"
            )
        name = find_voice(voice, model.voices).name
        if language.lower().split("-")[0] not in LANGUAGES:
            raise LanguageNotSupported(f"Voxtral TTS does not speak {language!r}, only {', '.join(sorted(LANGUAGES))}")
        if not text.strip():
            raise TextRejected("the text is empty: give at least one word")
        if len(text) > self._config.max_characters:
            raise TextRejected(
                f"the text has {len(text)} characters, at most {self._config.max_characters} fit: cut it into sentences"
            )
        return VoxtralUtterance(
            lambda: self._begin(text, name), wake=self._loop.wake, stall_s=self._config.stall_timeout_s
        )

    async def _begin(self, text: str, voice: str) -> UtteranceRequest:
        """Submit a request for the text."""
        stepper, config = self._running, self._config
        codec = stepper.model.config.codec
        request = UtteranceRequest.of(
            text,
            stepper.model.text_ids(text),
            voice=voice,
            seed=random.getrandbits(63) if config.seed is None else config.seed,
            sample_rate_hz=codec.sample_rate_hz,
            expected_frames=stepper.rate.frames(len(text)),
            max_frames=math.ceil(config.max_seconds / codec.frame_s),
            lead_frames=math.floor(config.lead_ms / 1000 / codec.frame_s),
            wake=self._loop.wake,
        )
        stepper.submit(request)
        return request

    def _prepare(self, outlets: Outlets) -> SpeechStepper:
        """See LoopEngine.

        Raises:
            VoiceNotFound: a voice to be warmed is not in the checkpoint.
        """
        config = self._config
        device = self._open_device(config.device)
        started_s = time.monotonic()
        model = self._model
        if model is None:
            model = VoxtralTTS.load(config.checkpoint, device=device, dtype=getattr(torch, config.dtype))
            quantize(model.backbone, config.quantization)
        pages = math.ceil(config.slots * config.cache_tokens_per_slot / PAGE_TOKENS)
        slots = SpeechSlots(model, count=config.slots, pages=pages, page_tokens=PAGE_TOKENS)
        for voice in config.warm_voices:
            slots.warm(find_voice(voice, model.voices).name, slot=0)
        stepper = SpeechStepper(
            slots,
            outlets,
            batches=buckets(min(config.largest_batch or config.slots, config.slots)),
            prefill_tokens=config.prefill_tokens,
            guidance=config.guidance,
        )
        _log.info("Voxtral TTS ready on %s after %.1f s", device, time.monotonic() - started_s)
        return stepper
