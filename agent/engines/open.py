"""From settings to running engines: the chosen one of each part, with those behind it that take over when it fails."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from agent.engines.about import describe_engines
from agent.engines.registry import Registry, installed_engines
from agent.engines.resources import Resources
from agent.engines.start import start_engines
from agent.errors import EngineUnavailable
from agent.settings.config import PARTS, Part, Settings
from asr.interface import Recognizer
from llm.interface import LanguageModel
from tts.interface import Synthesizer
from webrtc.interface import PLAYOUT_RATE_HZ

if TYPE_CHECKING:
    from pipelines.call import Engines

Engine = TypeVar("Engine")

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_engines(settings: Settings, registry: Registry | None = None) -> AsyncGenerator["Engines", None]:
    """The chosen recognizer, language model and synthesizer, ready to work; stopped on leaving.

    Args:
        settings: which engines, and theirs.
        registry: the engines there are; the installed ones if not given.

    Raises:
        EngineUnavailable: an engine cannot be started here; so say the errors of the interfaces, too.
    """
    from pipelines.call import Engines  # brings Pipecat, which a command with one engine does without

    registry = registry or installed_engines()
    async with (
        Resources() as resources,
        recognizer_of(settings, resources, registry) as recognizer,
        language_model_of(settings, resources, registry) as language_model,
        synthesizer_of(settings, resources, registry) as synthesizer,
    ):
        if (rate_hz := synthesizer.sample_rate_hz) != PLAYOUT_RATE_HZ:
            raise EngineUnavailable(
                f"tts.kind = {settings.tts.kind} speaks at {rate_hz} Hz, calls want {PLAYOUT_RATE_HZ}; resample there"
            )
        for part in PARTS:
            _log.info("%s: %s", part.upper(), ", then ".join(config.kind for config in settings.chain(part)))
        yield Engines(recognizer, synthesizer, language_model, about=describe_engines(settings, registry))


def recognizer_of(
    settings: Settings, resources: Resources, registry: Registry | None = None
) -> AbstractAsyncContextManager[Recognizer]:
    """The chosen recognizer, with those behind it that take over when it fails; stopped on leaving."""
    from asr.fallback import FallbackRecognizer

    return _open_part("asr", FallbackRecognizer, settings, resources, registry)


def language_model_of(
    settings: Settings, resources: Resources, registry: Registry | None = None
) -> AbstractAsyncContextManager[LanguageModel]:
    """The chosen language model, with those behind it that take over when it fails; stopped on leaving."""
    from llm.fallback import FallbackLanguageModel

    return _open_part("llm", FallbackLanguageModel, settings, resources, registry)


def synthesizer_of(
    settings: Settings, resources: Resources, registry: Registry | None = None
) -> AbstractAsyncContextManager[Synthesizer]:
    """The chosen synthesizer, with those behind it that take over when it fails; stopped on leaving."""
    from tts.fallback import FallbackSynthesizer

    return _open_part("tts", FallbackSynthesizer, settings, resources, registry)


@asynccontextmanager
async def _open_part(
    part: Part,
    fallback: Callable[[list[Engine]], Engine],
    settings: Settings,
    resources: Resources,
    registry: Registry | None,
) -> AsyncGenerator[Engine, None]:
    """A part's only engine, or all that start behind one another."""
    kinds, starts = _starts(part, settings, resources, registry)
    async with start_engines(part, kinds, starts) as engines:
        yield engines[0] if len(kinds) == 1 else fallback(engines)


def _starts(
    part: Part, settings: Settings, resources: Resources, registry: Registry | None
) -> tuple[list[str], list[Callable[[], AbstractAsyncContextManager[Any]]]]:
    """The kinds of a part's engines, and for each what makes it, to be called for every attempt."""
    engines = registry or installed_engines()
    chain = settings.chain(part)
    return [config.kind for config in chain], [
        partial(engines.spec(part, config).open, config, resources) for config in chain
    ]
