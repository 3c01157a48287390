"""What the page shows of the chosen engines."""

from collections.abc import Mapping
from typing import Any

from agent.engines.registry import Registry
from agent.settings.config import Settings


def describe_engines(settings: Settings, registry: Registry) -> Mapping[str, Any]:
    """The `engine` that thinks, a `note` on a limit worth knowing, and `suggestions` of things to say."""
    model = registry.spec("llm", settings.llm)
    notes = [registry.spec("asr", settings.asr).note, model.note, registry.spec("tts", settings.tts).note]
    return {
        "engine": model.label(settings.llm),
        "note": "; ".join(filter(None, notes)),
        "suggestions": model.suggestions,
    }
