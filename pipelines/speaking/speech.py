"""Turns the reply's text into speech through the synthesizer interface, clause by clause, never far ahead of playout.

Text comes in as tokens; audio leaves at our own pace. Not a TTSService of Pipecat's: nothing bounds its queue (7.4 s
of speech generated in vain at an interruption), and it can neither hold an utterance nor go on with it.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    StartFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings

from pipelines.activity import AgentActivity
from pipelines.config import AgentConfig, SpeechConfig
from pipelines.events import CallEvents, EngineFailed
from pipelines.frames import EndCallFrame, SpokenAudioFrame
from pipelines.speaking.clauses import ClauseSplitter
from pipelines.speaking.languages import SpokenLanguage
from tts.interface import SpeechChunk, SynthesisError, Synthesizer, Utterance
from tts.spoken_text import to_spoken_text
from webrtc.interface import CallClosed, Playout
from webrtc.media.pcm import to_pcm16

_log = logging.getLogger(__name__)

MAX_WAITING = 4096  # clauses and frames; a reply longer than that waits for playout


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of text to speak."""

    text: str


class SpeechService(AIService):
    """Speaks the replies of one call."""

    def __init__(
        self,
        synthesizer: Synthesizer,
        playout: Playout,
        config: SpeechConfig,
        agent: AgentConfig,
        *,
        activity: AgentActivity,
        events: CallEvents,
    ) -> None:
        super().__init__(settings=ServiceSettings(model=None))
        self._synthesizer = synthesizer
        self._playout = playout
        self._config = config
        self._activity = activity
        self._events = events
        self._language = SpokenLanguage(agent.languages)
        self._voices = {
            language: agent.voices.get(language) or first_voice(synthesizer, language) for language in agent.languages
        }
        if agent.voice:
            self._voices[agent.language] = agent.voice
        self._splitter = ClauseSplitter(config.clause_chars)
        self._waiting: asyncio.Queue[tuple[int, Clause | Frame]] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None
        self._utterance: Utterance | None = None
        self._epoch = 0  # of the reply being spoken; what belongs to an earlier one is dropped
        self._failed_epoch: int | None = None  # whose current response could not be spoken on; its rest is dropped
        self._is_accepting = True  # text, from the start of a response until a stop
        self._is_dropping = False  # until the interruption has passed, responses are those from before it
        self._is_held = False
        self._may_sound = asyncio.Event()  # else what is ready is kept back
        self._may_sound.set()
        self._pushed_samples = 0  # handed on, in playout positions: ahead of playout's own count by what is in flight

    def keep_back(self) -> None:
        """Prepare the next response up to its first chunk of speech, and no further until `release`."""
        self._may_sound.clear()

    def release(self) -> None:
        """Let it be heard, or find that it was dropped."""
        self._may_sound.set()

    def hold(self) -> None:
        """Synthesize no further; what playout has goes on."""
        self._is_held = True
        if self._utterance:
            self._utterance.hold()

    def top_up(self) -> None:
        """While held, go on for one chunk if playout is about to run dry: a doubt must not be heard as a hole."""
        if self._is_held and self._utterance and self._lead_ms() < self._config.low_lead_ms:
            self._utterance.resume()

    def resume(self) -> None:
        """Go on where it was held; not a sample is lost."""
        self._is_held = False
        if self._utterance:
            self._utterance.resume()

    def drop(self) -> int:
        """Forget everything, at once; what comes before the interruption that follows is ignored, too.

        Returns:
            The first epoch that is still wanted.
        """
        self._epoch += 1
        self._may_sound.set()
        self._is_accepting = False
        self._is_dropping = True
        self._is_held = False
        self._pushed_samples = 0
        self._splitter.close()
        while not self._waiting.empty():
            self._waiting.get_nowait()
        if self._utterance:
            self._utterance.cancel()
        return self._epoch

    async def start(self, frame: StartFrame) -> None:
        """Begin to speak what comes."""
        await super().start(frame)
        self._task = self.create_task(self._speak())

    async def cleanup(self) -> None:
        """Stop speaking."""
        await super().cleanup()
        if self._task:
            await self.cancel_task(self._task)
            self._task = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take text and the borders of responses, in order; turn taking drops them at an interruption."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            if self._is_accepting:
                for clause in self._splitter.feed(frame.text):
                    await self._enqueue(Clause(clause))
            return
        if isinstance(frame, InterruptionFrame):
            self._is_dropping = False
        elif isinstance(frame, LLMFullResponseStartFrame):
            self._is_accepting = not self._is_dropping
        elif isinstance(frame, LLMFullResponseEndFrame):
            if self._is_accepting:
                await self._enqueue(Clause(self._splitter.close()))
                await self._enqueue(frame)
            return
        elif isinstance(frame, EndCallFrame):
            await self._enqueue(frame)
            return
        await self.push_frame(frame, direction)

    async def _enqueue(self, item: Clause | Frame) -> None:
        await self._waiting.put((self._epoch, item))

    async def _speak(self) -> None:
        """Speak clause after clause until the call ends."""
        with suppress(CallClosed):
            while True:
                epoch, item = await self._waiting.get()
                if epoch != self._epoch:
                    continue
                if not isinstance(item, Clause):
                    await self._hand_on(item, epoch)
                elif epoch != self._failed_epoch:
                    await self._speak_clause(item.text, epoch)

    async def _hand_on(self, border: Frame, epoch: int) -> None:
        """Let a border go behind the speech that it ends."""
        await self._may_sound.wait()
        if epoch != self._epoch:
            return
        if isinstance(border, LLMFullResponseEndFrame):
            await self.push_frame(TTSStoppedFrame())
            self._failed_epoch = None
            self._activity.finish_response()
        await self.push_frame(border)

    async def _speak_clause(self, clause: str, epoch: int) -> None:
        text = to_spoken_text(clause).strip()
        if not text:
            return
        language = self._language.of(text)
        if not self._lead_ms():
            self._pushed_samples = self._playout.written_samples
        has_begun = False
        try:
            async with self._synthesizer.speak(text, voice=self._voices[language], language=language) as utterance:
                self._utterance = utterance
                if self._is_held:
                    utterance.hold()
                async for chunk in utterance:
                    await self._may_sound.wait()
                    if epoch != self._epoch:
                        return
                    if not has_begun:
                        has_begun = True
                        await self.push_frame(TTSStartedFrame())
                    await self._push(chunk, text, epoch)
                    await self._until_wanted(epoch)
        except SynthesisError as error:
            self._failed_epoch = epoch
            _log.error("speech failed: %s", error)
            self._events.emit(EngineFailed(self._events.now_ms, "tts", str(error)))
            await self.push_error(f"speech failed: {error}", exception=error)
        finally:
            self._utterance = None

    async def _push(self, chunk: SpeechChunk, text: str, epoch: int) -> None:
        pcm = to_pcm16(chunk.samples).tobytes()
        piece = text[chunk.text_start : chunk.text_end]
        if piece and chunk.text_end == len(text):
            piece += " "  # the white space between clauses is not spoken text
        self._pushed_samples += len(chunk.samples)
        await self.push_frame(SpokenAudioFrame(pcm, self._synthesizer.sample_rate_hz, 1, text=piece, epoch=epoch))

    async def _until_wanted(self, epoch: int) -> None:
        """Wait until playout is close enough behind to want more, or the reply was dropped."""
        while epoch == self._epoch:
            lead_ms = self._config.low_lead_ms if self._is_held else self._config.lead_ms
            if self._lead_ms() < lead_ms:
                return
            if self._is_held and self._utterance:
                self._utterance.hold()
            await self._playout.wait_advanced()

    def _lead_ms(self) -> float:
        return max(0, self._pushed_samples - self._playout.position_samples) * 1000 / self._synthesizer.sample_rate_hz


def first_voice(synthesizer: Synthesizer, language: str) -> str:
    """The engine's first voice for a language, else its first voice."""
    speaks = [
        voice.name for voice in synthesizer.voices if voice.language.split("-")[0] == language.split("-", maxsplit=1)[0]
    ]
    return speaks[0] if speaks else synthesizer.voices[0].name
