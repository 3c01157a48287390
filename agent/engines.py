"""The only place that names concrete engines; each is imported when it is chosen, never before."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from agent.config import Settings
from agent.errors import EngineUnavailable
from asr.config import SphinxConfig
from asr.interface import Recognizer
from llm.config import DemoConfig
from llm.interface import LanguageModel
from tts.config import EspeakConfig, VoxtralTTSConfig
from tts.interface import Synthesizer

if TYPE_CHECKING:
    from pipelines.call import Engines

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_engines(settings: Settings) -> AsyncGenerator["Engines", None]:
    """The chosen recogniser, language model and synthesiser, ready to work; stopped on leaving."""
    from pipelines.call import Engines  # brings Pipecat, which a command with one engine does without

    async with (
        recognizer_of(settings) as recognizer,
        language_model_of(settings) as language_model,
        synthesizer_of(settings) as synthesizer,
    ):
        _log.info("ears: %s, mind: %s, mouth: %s", settings.asr.kind, settings.llm.kind, settings.tts.kind)
        yield Engines(recognizer, synthesizer, language_model, about=describe(settings))


@asynccontextmanager
async def recognizer_of(settings: Settings) -> AsyncGenerator[Recognizer, None]:
    """The chosen recogniser, stopped on leaving."""
    match settings.asr:
        case SphinxConfig() as config:
            from asr.sphinx import SphinxRecognizer
            from llm.demo_grammar import training_sentences

            async with SphinxRecognizer(config, training_sentences()) as recognizer:
                yield recognizer


@asynccontextmanager
async def language_model_of(settings: Settings) -> AsyncGenerator[LanguageModel, None]:
    """The chosen language model, stopped on leaving."""
    match settings.llm:
        case DemoConfig() as config:
            from llm.demo import DemoMind

            yield DemoMind(config)


@asynccontextmanager
async def synthesizer_of(settings: Settings) -> AsyncGenerator[Synthesizer, None]:
    """The chosen synthesiser, stopped on leaving."""
    match settings.tts:
        case EspeakConfig() as config:
            from tts.espeak import EspeakSynthesizer

            async with EspeakSynthesizer(config) as synthesizer:
                yield synthesizer
        case VoxtralTTSConfig() as config:
            _require_torch("voxtral")
            from llm.checkpoint import CheckpointError
            from llm.steploop import StepLoop
            from tts.engine import VoxtralSynthesizer

            async with AsyncExitStack() as stack:
                loop = await stack.enter_async_context(StepLoop("speech"))
                try:
                    synthesizer = await stack.enter_async_context(VoxtralSynthesizer(config, loop))
                except CheckpointError as error:
                    raise EngineUnavailable(str(error)) from error
                yield synthesizer


def _require_torch(engine: str) -> None:
    if find_spec("torch") is None:
        raise EngineUnavailable(
            f"the {engine} engine needs PyTorch, which is not installed; "
            "run: python -m pip install -c constraints.txt '.[engines]'"
        )


def describe(settings: Settings) -> Mapping[str, Any]:
    """What the page tells its reader: the `engine`, a `note` on a limit worth knowing, things to `try` to say."""
    match settings.asr:
        case SphinxConfig():
            note = "demo vocabulary only"
    match settings.llm:
        case DemoConfig():
            suggestions = (
                "What time is it?",
                "What is twelve times seven?",
                "Tell me a story.",
                "Book a table for tomorrow.",
                "Count to twenty.",
            )
            return {"engine": "Demo mind: scripted", "note": note, "try": suggestions}
