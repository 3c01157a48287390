"""What this machine can run, found by trying it; what is missing, and the command that fixes it."""

from asyncio import timeout
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agent.commands.say import choose_voice
from agent.doctor.machine import Finding, check_machine
from agent.doctor.needs import check_needs
from agent.engines.configure import load_settings
from agent.engines.registry import Registry
from agent.engines.resources import Resources
from agent.errors import ConfigError
from agent.settings.config import PARTS, EngineConfig, Part, Settings
from agent.settings.profiles import PROFILES
from asr.interface import SAMPLE_RATE_HZ, Recognizer
from llm.interface import LanguageModel, Message
from tts.interface import Synthesizer

_TRY_LIMIT_S = 60.0
_OWN = "of your own"  # engines chosen one by one
_FREE = "embedded"  # tried in any case
_NO_SERVERS = Finding(
    "servers",
    "missing",
    "no base_url is set",
    "set PARLEY_ASR__BASE_URL, PARLEY_LLM__BASE_URL and PARLEY_TTS__BASE_URL",
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings about this machine."""

    machine: tuple[Finding, ...]
    profiles: dict[str, tuple[Finding, ...]]
    chosen: str  # the one that the settings choose

    @property
    def can_serve(self) -> bool:
        """Whether the chosen engines work on this machine."""
        return all(finding.status != "missing" for finding in (*self.machine, *self.profiles[self.chosen]))

    def as_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        return {**asdict(self), "can_serve": self.can_serve}


async def examine(settings: Settings, registry: Registry, environment: Mapping[str, str]) -> Diagnosis:
    """Look at the machine and at what every profile needs, and try the engines that can be tried for nothing.

    These are the engines of the settings and those without weights; the others are large, or cost money.
    """
    machine = await check_machine(settings, registry)
    candidates = {name: _profile(name, settings, registry) for name in PROFILES}
    chosen = next((name for name, of in candidates.items() if of and _engines(of) == _engines(settings)), _OWN)
    candidates[chosen] = settings
    profiles: dict[str, tuple[Finding, ...]] = {}
    for name, of in candidates.items():
        if of is None:
            profiles[name] = (_NO_SERVERS,)
            continue
        found = list(await check_needs(of, registry, environment))
        can_try = name in (chosen, _FREE) and all(finding.status != "missing" for finding in found)
        profiles[name] = (
            *found,
            *([finding async for finding in _try_engines(of, registry, environment)] if can_try else ()),
        )
    return Diagnosis(tuple(machine), profiles, chosen)


def _profile(name: str, settings: Settings, registry: Registry) -> Settings | None:
    """A profile by itself, with these models; None for one that cannot be without settings of the user's."""
    try:
        return load_settings(None, {}, {"profile": name, "models": str(settings.models)}, registry=registry)
    except ConfigError:
        return None


def report(diagnosis: Diagnosis) -> Sequence[str]:
    """The diagnosis as lines to read."""
    lines: list[str] = ["this machine"]
    lines += [_line(finding) for finding in diagnosis.machine]
    for profile, parts in diagnosis.profiles.items():
        lines.append(f"profile {profile}" + (" (chosen)" if profile == diagnosis.chosen else ""))
        lines += [_line(finding) for finding in parts]
    lines.append("ready: parley serve" if diagnosis.can_serve else "not ready: fix what is missing above")
    return lines


def _line(finding: Finding) -> str:
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"  {finding.status:<8} {finding.name:<12} {finding.found}{remedy}"


def _engines(settings: Settings) -> tuple[str, str, str]:
    return settings.asr.kind, settings.llm.kind, settings.tts.kind


async def _try_engines(
    settings: Settings, registry: Registry, environment: Mapping[str, str]
) -> AsyncIterator[Finding]:
    """Every engine by itself: a fallback would hide what is wrong with the one before it."""
    for part in PARTS:
        for config in settings.chain(part):
            yield await _try(part, config, settings, registry, environment)


async def _try(
    part: Part, config: EngineConfig, settings: Settings, registry: Registry, environment: Mapping[str, str]
) -> Finding:
    name = part.upper()
    try:
        async with (
            timeout(_TRY_LIMIT_S),
            Resources(environment) as resources,
            registry.spec(part, config).open(config, resources) as engine,
        ):
            match part:
                case "asr":
                    found = await _try_recognizer(engine, settings.agent.language)
                case "llm":
                    found = await _try_language_model(engine)
                case "tts":
                    found = await _try_synthesizer(engine, settings.agent.voice, settings.agent.language)
    except TimeoutError:
        return Finding(name, "missing", f"{config.kind}: no answer within {_TRY_LIMIT_S:.0f} s", "try again")
    except Exception as error:  # whatever is wrong with an engine is what a doctor reports
        return Finding(name, "missing", f"{config.kind}: {error}", "fix that, or choose another engine")
    return Finding(name, "ok", f"{config.kind}: {found}")


async def _try_recognizer(recognizer: Recognizer, language: str) -> str:
    async with recognizer.listen(language=language) as recognition:
        recognition.push(np.zeros(SAMPLE_RATE_HZ, np.float32))
        recognition.flush()
        async for transcript in recognition:
            if transcript.is_final:
                return "listens"
    raise RuntimeError("ended before it answered")


async def _try_language_model(language_model: LanguageModel) -> str:
    async with language_model.reply((Message("user", "hello"),)) as reply:
        async for _ in reply:
            return "answers"
    raise RuntimeError("ended before it answered")


async def _try_synthesizer(synthesizer: Synthesizer, voice: str, language: str) -> str:
    voice = choose_voice(synthesizer, voice, language)
    async with synthesizer.speak("Hello.", voice=voice, language=language) as utterance:
        async for chunk in utterance:
            if np.abs(chunk.samples).max(initial=0) > 0:
                return f"speaks, {len(synthesizer.voices)} voices"
    raise RuntimeError("was silent")
