"""What the page tells its reader of the chosen engines."""

from collections.abc import Mapping
from typing import Any

from agent.config import Settings
from asr.config import SphinxConfig
from llm.config import DemoConfig

_DEMO_SUGGESTIONS = (
    "What time is it?",
    "What is twelve times seven?",
    "Tell me a story.",
    "Book a table for tomorrow.",
    "Count to twenty.",
)


def about(settings: Settings) -> Mapping[str, Any]:
    """The `engine` that thinks, a `note` on a limit worth knowing, and things to `try` to say."""
    note = "demo vocabulary only" if isinstance(settings.asr, SphinxConfig) else ""
    match settings.llm:
        case DemoConfig():
            return {"engine": "Demo mind: scripted", "note": note, "try": _DEMO_SUGGESTIONS}
