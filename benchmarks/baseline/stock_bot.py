"""A stock Pipecat bot on Parley's embedded engines: what the same parts do as the documentation arranges them.

Default Silero VAD, default turn strategies (Smart Turn v3), sentence aggregation, the SmallWebRTC transport with its
default chunks. The three services are what a Pipecat user would write around these engines: the recognizer gets the
speech that the VAD found and its finals are marked finalized, the synthesizer speaks sentence by sentence. Only two
things are off the trodden path, both in the bot's favor: a WorkerRunner per call (a shared one leaks) and aiohttp in
place of the development runner.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import numpy as np
from aiohttp import web
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterimTranscriptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    StartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner

from agent.engines.configure import load_settings
from agent.engines.open import open_engines
from asr.interface import SAMPLE_RATE_HZ, Recognition, Recognizer
from llm.interface import LanguageModel, Message, TextDelta
from pipelines.call import Engines
from tts.interface import Synthesizer
from webrtc.peer.loopback import offer_loopback

LANGUAGE = "en"
PRE_ROLL_BYTES = SAMPLE_RATE_HZ * 2  # one second, as Pipecat's own segmented services keep for the VAD's delay


class RecognizerService(STTService):
    """Streams to the recognizer what the VAD takes for speech; finals come at its pause and are finalized."""

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] -- its **kwargs have no types
            ttfs_p99_latency=0.2, settings=STTSettings(model=None, language=None), sample_rate=SAMPLE_RATE_HZ
        )
        self._recognizer = recognizer
        self._stack = contextlib.AsyncExitStack()
        self._recognition: Recognition | None = None
        self._pre_roll = bytearray()
        self._is_speech = False

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        recognition = await self._stack.enter_async_context(self._recognizer.listen(language=LANGUAGE))
        self._recognition = recognition
        self._reader = cast("asyncio.Task[None]", self.create_task(self._read(recognition)))  # pyright: ignore[reportUnknownMemberType]

    async def stop(self, frame: EndFrame) -> None:
        await super().stop(frame)
        await self._close()

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._close()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if self._recognition is None:
            return
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._is_speech = True
            self._recognition.push(_to_float32(bytes(self._pre_roll)))
            self._pre_roll.clear()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._is_speech = False
            self._recognition.flush()

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        if self._recognition is not None and self._is_speech:
            self._recognition.push(_to_float32(audio))
        else:
            self._pre_roll += audio
            del self._pre_roll[:-PRE_ROLL_BYTES]
        yield None

    async def _read(self, recognition: Recognition) -> None:
        async for transcript in recognition:
            if not transcript.text:
                continue
            if transcript.is_final:
                await self.push_frame(TranscriptionFrame(transcript.text, "", time_now_iso8601(), finalized=True))
            else:
                await self.push_frame(InterimTranscriptionFrame(transcript.text, "", time_now_iso8601()))

    async def _close(self) -> None:
        if self._recognition is not None:
            self._recognition = None
            await self.cancel_task(self._reader)  # pyright: ignore[reportUnknownMemberType]
            await self._stack.aclose()


class LanguageModelService(LLMService):
    """Pushes the language model's text as it comes."""

    def __init__(self, language_model: LanguageModel) -> None:
        super().__init__(settings=LLMSettings(model=None))  # pyright: ignore[reportUnknownMemberType]
        self._language_model = language_model

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        try:
            async with self._language_model.reply(_messages(frame.context)) as reply:
                async for piece in reply:
                    if isinstance(piece, TextDelta):
                        await self._push_llm_text(piece.text)
        finally:
            await self.push_frame(LLMFullResponseEndFrame())


class SynthesizerService(TTSService):
    """Speaks one sentence after the other."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        voice = next(voice.name for voice in synthesizer.voices if voice.language == LANGUAGE)
        super().__init__(  # pyright: ignore[reportUnknownMemberType] -- its **kwargs have no types
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=synthesizer.sample_rate_hz,
            settings=TTSSettings(model=None, voice=voice, language=None),
        )
        self._synthesizer = synthesizer
        self._voice_name = voice

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        async with self._synthesizer.speak(text, voice=self._voice_name, language=LANGUAGE) as utterance:
            async for chunk in utterance:
                yield TTSAudioRawFrame(_to_pcm16(chunk.samples), self.sample_rate, 1, context_id=context_id)


async def run_bot(connection: SmallWebRTCConnection, engines: Engines) -> None:
    """One call, from its connection to its end."""
    transport = SmallWebRTCTransport(connection, TransportParams(audio_in_enabled=True, audio_out_enabled=True))
    context = LLMContext()
    aggregators = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    pipeline = Pipeline(
        [
            transport.input(),
            RecognizerService(engines.recognizer),
            aggregators.user(),
            LanguageModelService(engines.language_model),
            SynthesizerService(engines.synthesizer),
            transport.output(),
            aggregators.assistant(),
        ]
    )
    worker = PipelineWorker(pipeline)

    async def end(_transport: SmallWebRTCTransport, _client: object) -> None:
        await worker.cancel()

    transport.add_event_handler("on_client_disconnected", end)  # pyright: ignore[reportUnknownMemberType]
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def serve(engines: Engines, host: str, port: int, *, loopback: bool, routes: Sequence[web.RouteDef] = ()) -> None:
    """Answer offers until cancelled, and the further routes; prints its address when it does."""
    if loopback:
        offer_loopback()
    async with asyncio.TaskGroup() as calls:

        async def offer(request: web.Request) -> web.Response:
            body = cast("dict[str, Any]", await request.json())
            connection = SmallWebRTCConnection()
            await connection.initialize(sdp=body["sdp"], type=body["type"])
            calls.create_task(run_bot(connection, engines))
            return web.json_response(connection.get_answer())

        app = web.Application()
        app.router.add_routes([web.post("/api/offer", offer), *routes])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound: int = runner.addresses[0][1]
        print(f"Stock bot is listening on http://{host}:{bound}", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _to_float32(pcm16: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(pcm16, np.int16).astype(np.float32) / 32768.0


def _to_pcm16(samples: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16).tobytes()


def _messages(context: LLMContext) -> list[Message]:
    """The context as our language models take it; what Pipecat adds for its own models ("developer") stays out."""
    return [
        Message(role=message["role"], content=str(message.get("content") or ""))
        for message in cast("list[dict[str, Any]]", context.messages)
        if message.get("role") in ("system", "user", "assistant")
    ]


async def serve_embedded(host: str, port: int, *, loopback: bool) -> None:
    """Answer offers with the embedded engines until cancelled."""
    async with open_engines(load_settings(None, {})) as engines:
        await serve(engines, host, port, loopback=loopback)


def main() -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--loopback", action="store_true", help="offer 127.0.0.1 as well")
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_embedded(arguments.host, arguments.port, loopback=arguments.loopback))
    return 0


if __name__ == "__main__":
    sys.exit(main())
