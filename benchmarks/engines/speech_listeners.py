"""Listeners of the speech engine with random weights: some take what comes, some play it in real time."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.engines.speech_models import VOICE
from llm.runtime.loop.graphs import buckets
from llm.runtime.loop.outlet import Outlets
from llm.runtime.loop.step_loop import StepLoop
from tts.interface import EngineBusy
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import SpeechSlots
from tts.voxtral.stepper import SpeechStepper
from tts.voxtral.utterance import UtteranceRequest, VoxtralUtterance

CHARACTERS_PER_S = 500 / 33
CHARACTERS_PER_TOKEN = 4
NO_LIMIT = 1_000_000  # frames of lead: who takes whatever comes
LEAD_FRAMES = 4
TAKEN_AHEAD_S = 0.04  # a player takes a chunk so long before it must sound
PAGES_PER_SLOT = 26  # of 32 tokens: 10 s of voice, 600 characters and the 40 s that they take


@dataclass
class ListeningStats:
    """What the listeners of one level found."""

    first_audio_ms: list[float] = field(default_factory=list)
    rtf: list[float] = field(default_factory=list)
    characters: int = 0
    chunks: int = 0
    samples: int = 0
    underruns: int = 0
    stalled_s: float = 0.0
    cancelled: int = 0
    refused: int = 0


class RandomSpeaker:
    """The engine with random weights, as far as the listeners need it."""

    def __init__(self, model: VoxtralTTS, loop: StepLoop, stepper: SpeechStepper) -> None:
        self.model, self.loop, self.stepper = model, loop, stepper
        self.chance = random.Random(0)

    def speak(self, characters: int, lead_frames: int) -> tuple[VoxtralUtterance, int]:
        """An utterance of so many characters of random text, and the frames that it will take."""
        codec = self.model.config.codec
        frames = max(1, round(characters / CHARACTERS_PER_S / codec.frame_s))
        text_ids = [self.chance.randrange(1000, 4000) for _ in range(max(1, characters // CHARACTERS_PER_TOKEN))]
        seed = self.chance.getrandbits(63)

        async def begin() -> UtteranceRequest:
            request = UtteranceRequest.of(
                "x" * characters,
                text_ids,
                voice=VOICE,
                seed=seed,
                sample_rate_hz=codec.sample_rate_hz,
                expected_frames=frames,
                max_frames=frames,
                lead_frames=lead_frames,
                wake=self.loop.wake,
            )
            self.stepper.submit(request)
            return request

        return VoxtralUtterance(begin, wake=self.loop.wake, stall_s=60.0), frames


@asynccontextmanager
async def speaker(model: VoxtralTTS, slots: int) -> AsyncIterator[RandomSpeaker]:
    """The engine with that many slots, its graphs captured and its voice read."""
    async with StepLoop("benchmark") as loop:
        outlets = Outlets(asyncio.get_running_loop())

        def prepare() -> SpeechStepper:
            state = SpeechSlots(model, count=slots, pages=slots * PAGES_PER_SLOT)
            state.warm(VOICE, slot=0)
            return SpeechStepper(state, outlets, batches=buckets(slots), prefill_tokens=1024, guidance=1.2)

        stepper = await loop.run(prepare)
        await loop.attach(stepper)
        yield RandomSpeaker(model, loop, stepper)
        await loop.detach(stepper)


async def listen(speaker: RandomSpeaker, characters: int, heard: ListeningStats) -> None:
    """Take an utterance as fast as it comes."""
    utterance, frames = speaker.speak(characters, NO_LIMIT)
    started_s = time.perf_counter()
    first_s = 0.0
    async with utterance:
        async for _ in utterance:
            first_s = first_s or time.perf_counter()
    heard.first_audio_ms.append((first_s - started_s) * 1000)
    heard.rtf.append((time.perf_counter() - started_s) / (frames * speaker.model.config.codec.frame_s))
    heard.characters += characters


async def play(speaker: RandomSpeaker, characters: int, heard: ListeningStats, cut_after_s: float) -> None:
    """Play an utterance in real time, until its end or until it is cut."""
    utterance, _ = speaker.speak(characters, LEAD_FRAMES)
    started_s = time.perf_counter()
    due_s = ended_s = 0.0
    try:
        async with utterance:
            async for chunk in utterance:
                now_s = time.perf_counter()
                if not due_s:
                    heard.first_audio_ms.append((now_s - started_s) * 1000)
                    due_s, ended_s = now_s, now_s + cut_after_s
                elif now_s > due_s:
                    heard.underruns += 1
                    heard.stalled_s += now_s - due_s
                    due_s = now_s
                heard.chunks += 1
                heard.samples += len(chunk.samples)
                due_s += len(chunk.samples) / speaker.model.config.codec.sample_rate_hz
                if due_s > ended_s:
                    heard.cancelled += 1
                    return
                await asyncio.sleep(max(0.0, due_s - TAKEN_AHEAD_S - now_s))
    except EngineBusy:
        heard.refused += 1
