"""One call: the chain from the caller's microphone to the caller's ear, on one screen.

microphone -> voice detection -> recognition -> turn taking -> reply -> speech -> playout -> heard
                      \\_________ barge-in: duck, mute, cut or resume ______/
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
from pipelines.activity import AgentActivity
from pipelines.agent_control import AgentControl
from pipelines.config import AgentConfig, CallConfig
from pipelines.event_log import EventLog
from pipelines.events import About, CallEnded, CallEvents, CallStarted, EventSink
from pipelines.listening.recognition import RecognitionService
from pipelines.listening.silero import silero_session
from pipelines.listening.smart_turn import shared_smart_turn
from pipelines.listening.vad import Detection
from pipelines.replying.conversation import Conversation
from pipelines.replying.reply import ReplyService
from pipelines.replying.tool_runs import CallTool
from pipelines.rtvi import DataChannelSink, DirectRTVI
from pipelines.speaking.languages import language_instruction
from pipelines.speaking.speech import SpeechService
from pipelines.transport import MICROPHONE_RATE_HZ, CallInput, CallOutput
from pipelines.turn_processor import TurnTaking
from pipelines.turn_taking.machine import TurnMachine
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
    silero_session()
    if config.turn_taking.use_smart_turn:
        shared_smart_turn()


async def run_call(
    call: Call,
    engines: Engines,
    agent: AgentConfig,
    config: CallConfig,
    *,
    tools: Sequence[CallTool],
    sinks: Sequence[EventSink] = (),
) -> None:
    """Carry a connected or connecting call to its end; the code that entered `call` leaves it afterwards.

    Args:
        call: the caller, however connected.
        engines: shared by all calls of the process.
        agent, config: who answers, and how the call is held.
        tools: what the agent can do in this call.
        sinks: take the call's events, beside the log and the caller's own page.
    """
    await call.wait_connected()
    ended = asyncio.Event()
    events = CallEvents([DataChannelSink(call), EventLog(), *sinks])
    activity = AgentActivity()
    conversation = Conversation(f"{agent.instructions}\n{language_instruction(agent.languages)}".strip())
    language = None if agent.further_languages else agent.language
    smart_turn = shared_smart_turn() if config.turn_taking.use_smart_turn else None

    vad = Detection(config.vad, events)
    recognition = RecognitionService(engines.recognizer, language=language, events=events)
    reply = ReplyService(engines.language_model, conversation, tools, config.waiting, activity=activity, events=events)
    speech = SpeechService(engines.synthesizer, call.playout, config.speech, agent, activity=activity, events=events)
    output = CallOutput(call, conversation, activity=activity, events=events, ended=ended)
    turn_taking = TurnTaking(
        TurnMachine(config.turn_taking, onset_ms=config.vad.onset_ms, uses_turn_model=smart_turn is not None),
        AgentControl(reply, speech, output, call.playout, activity, conversation, config.turn_taking.barge_in),
        events,
        recent=vad.recent,
        smart_turn=smart_turn,
    )
    worker = PipelineWorker(
        Pipeline([CallInput(call), vad, recognition, turn_taking, reply, speech, output]),
        params=PipelineParams(
            audio_in_sample_rate=MICROPHONE_RATE_HZ, audio_out_sample_rate=engines.synthesizer.sample_rate_hz
        ),
        rtvi_processor=DirectRTVI(call),
        conversation_id=call.id,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )

    events.emit(CallStarted(events.now_ms, call.id))
    events.emit(About(events.now_ms, agent=agent.name, **engines.about))
    if agent.greeting:
        greeting = [LLMFullResponseStartFrame(), LLMTextFrame(agent.greeting), LLMFullResponseEndFrame()]
        await worker.queue_frames(greeting)
    try:
        await _run_until(worker, call, ended)
    finally:
        reason = call.close_reason.value if call.close_reason else "ended by the agent" if ended.is_set() else "stopped"
        events.emit(CallEnded(events.now_ms, reason))


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
