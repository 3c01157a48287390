"""A whole call's events, written and read again, drive a machine to the same actions."""

import json
from typing import Any

from pipecat.frames.frames import InterruptionFrame, LLMMessagesAppendFrame

from llm.interface import TextDelta
from pipelines.config import CallConfig
from pipelines.events import Event, TurnStep, from_json, to_json
from pipelines.replay import replay
from pipelines.turn_taking.config import TurnTakingConfig
from pipelines.turn_taking.machine import TurnMachine

STORY = "Once upon a time a fox ran over the hill and far away."


async def converse(chain: Any) -> None:
    """A question, a cough, a back-channel, an interruption before and one after a word was heard, text, and a stop."""
    chain.model.scripts = [[TextDelta(STORY)] for _ in range(6)]
    await chain.says("tell me a story")
    await chain.play(40)
    await chain.voice(3, is_voiced=False)
    await chain.silence(20)
    await chain.transcript("", is_final=True)
    await chain.voice(12)
    await chain.silence(7)
    await chain.transcript("mhm", is_final=True)
    await chain.play(20)
    await chain.voice(20)
    await chain.silence(7)
    await chain.transcript("another one", is_final=True)
    await chain.silence(15)
    await chain.voice(21)
    await chain.silence(7)
    await chain.transcript("about a lighthouse", is_final=True)
    await chain.silence(15)
    await chain.play(20)
    await chain.push(LLMMessagesAppendFrame(messages=[{"role": "user", "content": "shorter"}], run_llm=True))
    await chain.play(20)
    await chain.push(InterruptionFrame())
    await chain.silence(3)


def recording(chain: Any) -> list[Event]:
    """The events as a file would give them back."""
    lines = [json.dumps(to_json(event)) for event in chain.events.all]
    return [from_json(json.loads(line)) for line in lines]


def machine(config: TurnTakingConfig) -> TurnMachine:
    return TurnMachine(config, onset_ms=CallConfig().vad.onset_ms)


async def test_a_recorded_call_is_replayed_to_the_same_actions(chain: Any) -> None:
    await converse(chain)
    events = recording(chain)
    assert events == chain.events.all
    steps = [event for event in events if isinstance(event, TurnStep)]
    types = {action.type for step in steps for action in step.actions}
    assert types >= {"duck", "mute", "resume", "cut", "stop", "draft", "release", "end_turn", "ask", "top_up"}
    assert {step.said.type for step in steps} >= {"window", "words", "reopened", "typed", "cancel", "agent_changed"}
    assert not list(replay(events, machine(TurnTakingConfig())))


async def test_another_policy_shows_where_it_differs(chain: Any) -> None:
    await converse(chain)
    first, *_ = replay(recording(chain), machine(TurnTakingConfig(preset="patient")))
    assert first.recorded.actions != first.actions
