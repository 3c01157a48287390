"""One call: the chain from the caller's microphone to the caller's ear, on one screen.

microphone -> voice detection -> recognition -> turn-taking -> reply -> speech -> playout -> heard
                      \\_________ barge-in: suspect, hush, cut or resume ___/
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipecat.frames.frames import LLMFullResponseEndFrame, LLMFullResponseStartFrame, LLMTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.workers.runner import WorkerRunner

from asr.interface import Recognizer
from llm.interface import LanguageModel
from pipelines.config import AgentConfig, CallConfig
from pipelines.listening.recognition import RecognitionService
from pipelines.listening.silero import session
from pipelines.listening.smart_turn import smart_turn
from pipelines.listening.vad import Detection
from pipelines.observer import CallObserver, Timeline
from pipelines.replying.conversation import Conversation
from pipelines.replying.reply import ReplyService
from pipelines.replying.tool_runs import CallTool
from pipelines.rtvi import DirectRTVI
from pipelines.speaking.languages import request
from pipelines.speaking.speech import SpeechService
from pipelines.transport import MICROPHONE_RATE_HZ, CallInput, CallOutput
from pipelines.turn_taking.agent_control import AgentVoice
from pipelines.turn_taking.processor import TurnTaking
from tts.interface import Synthesizer
from webrtc.interface import Call


@dataclass(frozen=True, slots=True)
class Engines:
    """The three engines that a call uses, shared by all calls of the process, and what to tell the caller of them."""

    recognizer: Recognizer
    synthesizer: Synthesizer
    language_model: LanguageModel
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])


def prepare(config: CallConfig) -> None:
    """Load what all calls share, so that the first caller does not wait for it."""
    session()
    if config.turn_taking.use_smart_turn:
        smart_turn()


async def run_call(
    call: Call,
    engines: Engines,
    agent: AgentConfig,
    config: CallConfig,
    *,
    tools: Sequence[CallTool],
    observer: CallObserver,
) -> None:
    """Carry a connected or connecting call to its end; whoever entered `call` leaves it afterwards."""
    await call.wait_connected()
    ended = asyncio.Event()
    timeline = Timeline(call, observer)
    conversation = Conversation(f"{agent.instructions}\n{request(agent.languages)}".strip())

    detection = Detection(config.vad, on_voice=timeline.voice)
    recognition = RecognitionService(engines.recognizer, language=None if agent.further_languages else agent.language)
    reply = ReplyService(engines.language_model, conversation, tools, config.waiting)
    speech = SpeechService(engines.synthesizer, call.playout, config.speech, agent)
    output = CallOutput(call, conversation, timeline, ended=ended)
    turn_taking = TurnTaking(
        AgentVoice(reply, speech, output, call.playout, config.turn_taking.barge_in),
        conversation,
        timeline,
        config,
        recent=detection.recent,
        smart_turn=smart_turn() if config.turn_taking.use_smart_turn else None,
    )
    worker = PipelineWorker(
        Pipeline([CallInput(call), detection, recognition, turn_taking, reply, speech, output]),
        params=PipelineParams(
            audio_in_sample_rate=MICROPHONE_RATE_HZ, audio_out_sample_rate=engines.synthesizer.sample_rate_hz
        ),
        rtvi_processor=DirectRTVI(timeline),
        conversation_id=call.id,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )

    timeline.about(agent=agent.name, **engines.about)
    if agent.greeting:
        greeting = [LLMFullResponseStartFrame(), LLMTextFrame(agent.greeting), LLMFullResponseEndFrame()]
        await worker.queue_frames(greeting)
    await _run_until(worker, call, ended)


async def _run_until(worker: PipelineWorker, call: Call, ended: asyncio.Event) -> None:
    """Run a worker on a runner of its own (a shared one leaks 11 MB a call) until either side hangs up."""
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        endings = [group.create_task(call.wait_closed()), group.create_task(ended.wait()), running]
        try:
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await runner.cancel()
            for ending in endings[:2]:
                ending.cancel()
