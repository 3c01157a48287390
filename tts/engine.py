"""Our speech engine: Voxtral TTS for many calls at once on one device, behind the interface of any synthesiser."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import torch

from llm.graphs import buckets
from llm.handover import Handover
from llm.quantise import quantise
from llm.steploop import StepLoop
from llm.weights import check_memory
from tts.config import VoxtralTTSConfig
from tts.interface import (
    EngineUnreachable,
    LanguageNotSupported,
    TextRejected,
    Utterance,
    Voice,
    VoiceNotFound,
)
from tts.slots import SpeechSlots
from tts.stepper import Counters, SpeechStepper
from tts.utterance import Job, VoxtralUtterance
from tts.voices import LANGUAGES, find_voice
from tts.voxtral import VoxtralTTS

logger = logging.getLogger(__name__)

PAGE_TOKENS = 32
AUDIO_FILES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a")


class VoxtralSynthesizer:
    """Voxtral TTS on a step loop, which it may share with other engines. Use as `async with`."""

    def __init__(self, config: VoxtralTTSConfig, loop: StepLoop, model: VoxtralTTS | None = None) -> None:
        """Nothing is loaded before the context is entered; a `model` given is used in place of the checkpoint's."""
        self._config = config
        self._loop = loop
        self._given_model = model
        self._model: VoxtralTTS | None = None
        self._stepper: SpeechStepper | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Load the checkpoint, reserve the cache and capture the graphs, on the loop's thread.

        Raises:
            CheckpointError: the checkpoint is missing, incomplete, does not fit its configuration or the memory.
            EngineUnreachable: there is no such device.
            VoiceNotFound: a voice to be warmed is not in the checkpoint.
        """
        handover = Handover(asyncio.get_running_loop())
        async with AsyncExitStack() as stack:
            model, stepper = await self._loop.run(lambda: self._prepare(handover))
            await self._loop.attach(stepper)
            stack.push_async_callback(self._stop, stepper)
            self._stack = stack.pop_all()
        self._model, self._stepper = model, stepper
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._model = self._stepper = None
        await self._stack.aclose()

    @property
    def sample_rate_hz(self) -> int:
        """Rate of every chunk's samples."""
        return self._loaded.config.codec.sample_rate_hz

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices of the checkpoint."""
        return self._loaded.voices

    @property
    def counters(self) -> Counters:
        """What the engine has done since it was started."""
        return self._running.counters

    def speak(self, text: str, *, voice: str, language: str) -> Utterance:
        """An utterance of `text`; see `tts.interface.Synthesizer`."""
        model = self._loaded
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
            lambda: self._begin(text, name), changed=self._loop.wake, stall_s=self._config.stall_timeout_s
        )

    @property
    def _loaded(self) -> VoxtralTTS:
        if self._model is None:
            raise EngineUnreachable("the speech engine is not started: enter its context first")
        return self._model

    @property
    def _running(self) -> SpeechStepper:
        if self._stepper is None:
            raise EngineUnreachable("the speech engine is stopped: start it again")
        return self._stepper

    def _begin(self, text: str, voice: str) -> Job:
        """Submit a job for the text."""
        model, stepper = self._loaded, self._running
        config, codec = self._config, model.config.codec
        job = Job.of(
            text,
            model.text_ids(text),
            voice=voice,
            seed=random.getrandbits(63) if config.seed is None else config.seed,
            sample_rate_hz=codec.sample_rate_hz,
            expected_frames=stepper.rate.frames(len(text)),
            most_frames=math.ceil(config.max_seconds / codec.frame_s),
            lead_frames=math.floor(config.lead_ms / 1000 / codec.frame_s),
            changed=self._loop.wake,
        )
        stepper.submit(job)
        return job

    def _prepare(self, handover: Handover) -> tuple[VoxtralTTS, SpeechStepper]:
        """On the loop's thread: the model on its device, and what serves it."""
        config = self._config
        device = torch.device(config.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise EngineUnreachable(f"no {config.device} device here: choose another engine, or device = cpu (slow)")
        if device.type == "cuda":
            torch.cuda.set_device(device)  # kernels of Triton run on the thread's current device
        started_s = time.monotonic()
        model = self._given_model
        if model is None:
            model = VoxtralTTS.load(config.checkpoint, device=device, dtype=getattr(torch, config.dtype))
            quantise(model.backbone, config.quantization)
        pages = math.ceil(config.slots * config.cache_tokens_per_slot / PAGE_TOKENS)
        decoder, item = model.config.backbone, model.schedule.tokens.itemsize
        token_bytes = 2 * decoder.n_layers * decoder.n_kv_heads * decoder.head_dim * item
        check_memory(pages * PAGE_TOKENS * token_bytes, device, f"keys and values for {config.slots} utterances")
        slots = SpeechSlots(model, count=config.slots, pages=pages, page_tokens=PAGE_TOKENS)
        for voice in config.warm_voices:
            slots.warm(find_voice(voice, model.voices).name, slot=0)
        stepper = SpeechStepper(
            slots,
            handover,
            batches=buckets(min(config.largest_batch or config.slots, config.slots)),
            prefill_tokens=config.prefill_tokens,
            guidance=config.guidance,
        )
        logger.info("Voxtral TTS ready on %s after %.1f s", device, time.monotonic() - started_s)
        return model, stepper

    async def _stop(self, stepper: SpeechStepper) -> None:
        """End what is still spoken and free the device."""
        await self._loop.detach(stepper)
        await self._loop.run(stepper.stop)
