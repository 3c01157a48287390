"""The profiles: one table of which engine each part has, and which of them `auto` takes on this machine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from agent.checkpoints.gpus import Gpu, gpus
from agent.checkpoints.integrity import flaw
from agent.checkpoints.releases import MINISTRAL_8B, REALTIME, TTS, Release

AUTO = "auto"
MISTRAL_KEY = "MISTRAL_API_KEY"

# Which engine each part has under a profile. Every part can still be chosen on its own, by its `kind`.
PROFILES: Mapping[str, Mapping[str, str]] = {
    "embedded": {"asr": "sphinx", "llm": "demo", "tts": "espeak"},
    "mistral": {"asr": "mistral", "llm": "mistral", "tts": "mistral"},
    "gpu": {"asr": "voxtral", "llm": "ministral", "tts": "voxtral"},
    "remote": {"asr": "vllm", "llm": "chat", "tts": "omni"},
}

# The checkpoint that an engine of our own reads unless it is told another: a folder among the models.
CHECKPOINTS: Mapping[tuple[str, str], Release] = {
    ("asr", "voxtral"): REALTIME,
    ("llm", "ministral"): MINISTRAL_8B,
    ("tts", "voxtral"): TTS,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A profile and why it was taken."""

    profile: str
    reason: str


def choose(models: Path, environment: Mapping[str, str], look: Callable[[], Sequence[Gpu]] = gpus) -> Choice:
    """The best profile that this machine can run: what `auto` stands for.

    Args:
        models: folder of the downloaded checkpoints.
        environment: usually `os.environ`.
        look: finds the GPUs.
    """
    missing = [release.name for release in releases_of("gpu") if flaw(release.folder(models), release)]
    if "gpu" in PROFILES and not missing and look():
        return Choice("gpu", f"a GPU and all weights in {models}")
    no_gpu = f"weights of {', '.join(missing)} are not in {models}" if missing else "no GPU"
    if "mistral" in PROFILES and environment.get(MISTRAL_KEY):
        return Choice("mistral", f"{MISTRAL_KEY} is set ({no_gpu})")
    return Choice("embedded", f"{no_gpu}, and no {MISTRAL_KEY}")


def releases_of(profile: str) -> Sequence[Release]:
    """The checkpoints that a profile's engines read."""
    parts = PROFILES.get(profile, {})
    return [CHECKPOINTS[part, kind] for part, kind in parts.items() if (part, kind) in CHECKPOINTS]


def with_checkpoints(values: Mapping[str, Any], models: Path) -> dict[str, Any]:
    """The settings, in which every engine of our own that names no checkpoint reads its release."""
    completed = {part: _with_checkpoint(part, value, models) for part, value in values.items()}
    fallback = completed.get("fallback")
    if isinstance(fallback, dict):
        completed["fallback"] = {
            part: [_with_checkpoint(part, engine, models) for engine in cast(list[Any], engines)]
            if isinstance(engines, list)
            else engines
            for part, engines in cast(dict[str, Any], fallback).items()
        }
    return completed


def _with_checkpoint(part: str, engine: object, models: Path) -> object:
    """What was said of an engine of this part, whatever that is, with its checkpoint."""
    if not isinstance(engine, dict):
        return engine
    said = cast(dict[str, Any], engine)
    for (owner, kind), release in CHECKPOINTS.items():
        if (owner, kind) == (part, said.get("kind")):
            return {"checkpoint": release.folder(models), **said}
    return said
