"""The profiles: one table of which engine each part has. Which of them `auto` is, another decides (`Choose`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

AUTO = "auto"

# Which engine each part has under a profile. Every part can still be chosen on its own, by its `kind`.
PROFILES: Mapping[str, Mapping[str, str]] = {
    "embedded": {"asr": "sphinx", "llm": "demo", "tts": "espeak"},
    "mistral": {"asr": "mistral", "llm": "mistral", "tts": "mistral"},
    "gpu": {"asr": "voxtral", "llm": "ministral", "tts": "voxtral"},
    "remote": {"asr": "vllm", "llm": "chat", "tts": "omni"},
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A profile and why it was taken."""

    profile: str
    reason: str


Choose = Callable[[Path, Mapping[str, str]], Choice]
"""What `auto` stands for, given the folder of the checkpoints and the environment."""
