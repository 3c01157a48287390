"""What this machine can run, found by trying it; what is missing, and the command that mends it."""

from asyncio import timeout
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agent.commands.say import choose_voice
from agent.doctor.machine import Finding, findings
from agent.doctor.needs import needs
from agent.engines.open import StepLoops, language_model_of, recognizer_of, synthesizer_of
from agent.errors import ConfigError
from agent.settings.config import FallbackConfig, Settings, load_settings
from agent.settings.profiles import PROFILES
from asr.config import RecognizerConfig
from asr.interface import SAMPLE_RATE_HZ
from llm.config import LanguageModelConfig
from llm.interface import Message
from tts.config import SynthesizerConfig

EngineConfig = RecognizerConfig | LanguageModelConfig | SynthesizerConfig

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


async def examine(settings: Settings, environment: Mapping[str, str]) -> Diagnosis:
    """Look at the machine and at what every profile needs, and try the engines that can be tried for nothing.

    These are the engines of the settings and those without weights; the others are large, or cost money.
    """
    machine = await findings(settings)
    candidates = {name: _profile(name, settings) for name in PROFILES}
    chosen = next((name for name, of in candidates.items() if of and _engines(of) == _engines(settings)), _OWN)
    candidates[chosen] = settings
    profiles: dict[str, tuple[Finding, ...]] = {}
    for name, of in candidates.items():
        if of is None:
            profiles[name] = (_NO_SERVERS,)
            continue
        found = list(await needs(of, environment))
        can_try = name in (chosen, _FREE) and all(finding.status != "missing" for finding in found)
        profiles[name] = (*found, *([finding async for finding in _try(of)] if can_try else ()))
    return Diagnosis(tuple(machine), profiles, chosen)


def _profile(name: str, settings: Settings) -> Settings | None:
    """A profile by itself, with these models; None for one that cannot be without settings of the user's."""
    try:
        return load_settings(None, {}, {"profile": name, "models": str(settings.models)})
    except ConfigError:
        return None


def report(diagnosis: Diagnosis) -> Sequence[str]:
    """The diagnosis as lines to read."""
    lines: list[str] = ["this machine"]
    lines += [_line(finding) for finding in diagnosis.machine]
    for profile, parts in diagnosis.profiles.items():
        lines.append(f"profile {profile}" + (" (chosen)" if profile == diagnosis.chosen else ""))
        lines += [_line(finding) for finding in parts]
    lines.append("ready: parley serve" if diagnosis.can_serve else "not ready: mend what is missing above")
    return lines


def _line(finding: Finding) -> str:
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"  {finding.status:<8} {finding.name:<12} {finding.found}{remedy}"


def _engines(settings: Settings) -> tuple[str, str, str]:
    return settings.asr.kind, settings.llm.kind, settings.tts.kind


async def _try(settings: Settings) -> AsyncIterator[Finding]:
    """Every engine by itself: one that stands in would hide what is wrong with the one before it."""
    behind = settings.fallback
    parts: tuple[tuple[str, str, Sequence[EngineConfig], Callable[[Settings], Awaitable[str]]], ...] = (
        ("ears", "asr", (settings.asr, *behind.asr), _try_ears),
        ("mind", "llm", (settings.llm, *behind.llm), _try_mind),
        ("mouth", "tts", (settings.tts, *behind.tts), _try_mouth),
    )
    for part, field, chosen, attempt in parts:
        for config in chosen:
            alone = settings.model_copy(update={field: config, "fallback": FallbackConfig()})
            yield await _tried(part, config.kind, attempt(alone))


async def _tried(part: str, kind: str, attempt: Awaitable[str]) -> Finding:
    try:
        async with timeout(_TRY_LIMIT_S):
            found = await attempt
    except TimeoutError:
        return Finding(part, "missing", f"{kind}: no answer within {_TRY_LIMIT_S:.0f} s", "try again")
    except Exception as error:  # whatever is wrong with an engine is what a doctor reports
        return Finding(part, "missing", f"{kind}: {error}", "mend that, or choose another engine")
    return Finding(part, "ok", f"{kind}: {found}")


async def _try_ears(settings: Settings) -> str:
    async with (
        StepLoops() as loops,
        recognizer_of(settings, loops) as recognizer,
        recognizer.listen(language=settings.agent.language) as recognition,
    ):
        recognition.push(np.zeros(SAMPLE_RATE_HZ, np.float32))
        recognition.flush()
        async for transcript in recognition:
            if transcript.is_final:
                return "listens"
    raise RuntimeError("ended before it answered")


async def _try_mind(settings: Settings) -> str:
    async with (
        StepLoops() as loops,
        language_model_of(settings, loops) as language_model,
        language_model.reply((Message("user", "hello"),)) as reply,
    ):
        async for _ in reply:
            return "answers"
    raise RuntimeError("ended before it answered")


async def _try_mouth(settings: Settings) -> str:
    language = settings.agent.language
    async with StepLoops() as loops, synthesizer_of(settings, loops) as synthesizer:
        voice = choose_voice(synthesizer, settings.agent.voice, language)
        async with synthesizer.speak("Hello.", voice=voice, language=language) as utterance:
            async for chunk in utterance:
                if np.abs(chunk.samples).max(initial=0) > 0:
                    return f"speaks, {len(synthesizer.voices)} voices"
    raise RuntimeError("was silent")
