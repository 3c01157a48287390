"""Settings that had another name: the error for an old one names the new one."""

from collections.abc import Mapping

MOVED: Mapping[str, str] = {
    "call.agent_name": "agent.name",
    "call.greeting": "agent.greeting",
    "call.instructions": "agent.instructions",
    "call.language": "agent.language",
    "call.further_languages": "agent.further_languages",
    "call.speech.voice": "agent.voice",
    "call.speech.voices": "agent.voices",
    "call.voice": "call.vad",
    "call.turns": "call.turn_taking.endpointing (draft_reply, unclear_confidence, use_smart_turn: call.turn_taking)",
    "call.barge_in": "call.turn_taking.barge_in",
    "call.turn_taking.barge_in.hush_ms": "call.turn_taking.barge_in.mute_ms",
    "tools.use": "agent.tools",
}
