"""What the page tells its reader of the chosen engines."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from agent.settings.config import Settings
from asr.config import SphinxConfig
from llm.config import ChatConfig, DemoConfig, MinistralConfig, MistralChatConfig

_DEMO_SUGGESTIONS = (
    "What time is it?",
    "What is twelve times seven?",
    "Tell me a story.",
    "Book a table for tomorrow.",
    "Count to twenty.",
)
_SUGGESTIONS = (
    "What can you do for me?",
    "What time is it?",
    "Explain something surprising about the sea.",
    "Tell me a story.",
    "Goodbye.",
)


def about(settings: Settings) -> Mapping[str, Any]:
    """The `engine` that thinks, a `note` on a limit worth knowing, and `suggestions` of things to say."""
    note = "demo vocabulary only" if isinstance(settings.asr, SphinxConfig) else ""
    match settings.llm:
        case DemoConfig():
            return {"engine": "Demo mind: scripted", "note": note, "suggestions": _DEMO_SUGGESTIONS}
        case ChatConfig() as config:
            host = urlsplit(config.base_url).hostname
            return {"engine": f"{config.model} on {host}", "note": note, "suggestions": _SUGGESTIONS}
        case MistralChatConfig() as config:
            return {"engine": f"{config.model} in Mistral's cloud", "note": note, "suggestions": _SUGGESTIONS}
        case MinistralConfig() as config:
            return {"engine": config.checkpoint.name, "note": note, "suggestions": _SUGGESTIONS}
