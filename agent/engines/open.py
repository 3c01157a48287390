"""The only place that names concrete engines; each is imported when it is chosen, never before."""

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from agent.engines.about import about
from agent.engines.keys import api_key, required_key
from agent.engines.start import started
from agent.errors import EngineUnavailable
from agent.settings.config import Settings
from asr.config import MistralRealtimeConfig, RecognizerConfig, SphinxConfig, VllmRealtimeConfig, VoxtralRealtimeConfig
from asr.interface import Recognizer
from llm.config import ChatConfig, DemoConfig, LanguageModelConfig, MinistralConfig, MistralChatConfig
from llm.interface import LanguageModel
from tts.config import EspeakConfig, MistralSpeechConfig, OmniSpeechConfig, SynthesizerConfig, VoxtralTTSConfig
from tts.interface import Synthesizer

if TYPE_CHECKING:
    from llm.runtime.loop.step_loop import StepLoop
    from llm.runtime.verify import Comparison
    from pipelines.call import Engines

Engine = TypeVar("Engine")

_log = logging.getLogger(__name__)


class StepLoops:
    """The step loop of each device, shared by the engines on it and started for the first; a context."""

    def __init__(self) -> None:
        self._loops: dict[str, StepLoop] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def of(self, device: str) -> "StepLoop":
        """The loop of this device, such as cpu, cuda or cuda:1."""
        from llm.runtime.loop.step_loop import StepLoop

        name = "cuda:0" if device == "cuda" else device
        if name not in self._loops:
            self._loops[name] = await self._stack.enter_async_context(StepLoop(name))
        return self._loops[name]


@asynccontextmanager
async def open_engines(settings: Settings) -> AsyncGenerator["Engines", None]:
    """The chosen recogniser, language model and synthesiser, ready to work; stopped on leaving.

    Raises:
        EngineUnavailable: an engine cannot be started here; so say the errors of the interfaces, too.
    """
    from pipelines.call import Engines  # brings Pipecat, which a command with one engine does without

    async with (
        StepLoops() as loops,
        recognizer_of(settings, loops) as recognizer,
        language_model_of(settings, loops) as language_model,
        synthesizer_of(settings, loops) as synthesizer,
    ):
        fallback = settings.fallback
        for part, chosen in (
            ("ears", (settings.asr, *fallback.asr)),
            ("mind", (settings.llm, *fallback.llm)),
            ("mouth", (settings.tts, *fallback.tts)),
        ):
            _log.info("%s: %s", part, ", then ".join(config.kind for config in chosen))
        yield Engines(recognizer, synthesizer, language_model, about=about(settings))


@asynccontextmanager
async def recognizer_of(settings: Settings, loops: StepLoops) -> AsyncGenerator[Recognizer, None]:
    """The chosen recogniser, with those behind it that take over when it fails; stopped on leaving."""
    from asr.fallback import FallbackRecognizer

    chosen = (settings.asr, *settings.fallback.asr)
    starts = [partial(_recognizer, config, loops) for config in chosen]
    async with started("ears", [config.kind for config in chosen], starts) as engines:
        yield engines[0] if len(chosen) == 1 else FallbackRecognizer(engines)


@asynccontextmanager
async def language_model_of(settings: Settings, loops: StepLoops) -> AsyncGenerator[LanguageModel, None]:
    """The chosen language model, with those behind it that take over when it fails; stopped on leaving."""
    from llm.fallback import FallbackLanguageModel

    chosen = (settings.llm, *settings.fallback.llm)
    starts = [partial(_language_model, config, loops) for config in chosen]
    async with started("mind", [config.kind for config in chosen], starts) as engines:
        yield engines[0] if len(chosen) == 1 else FallbackLanguageModel(engines)


@asynccontextmanager
async def synthesizer_of(settings: Settings, loops: StepLoops) -> AsyncGenerator[Synthesizer, None]:
    """The chosen synthesiser, with those behind it that take over when it fails; stopped on leaving."""
    from tts.fallback import FallbackSynthesizer

    chosen = (settings.tts, *settings.fallback.tts)
    starts = [partial(_synthesizer, config, loops) for config in chosen]
    async with started("mouth", [config.kind for config in chosen], starts) as engines:
        yield engines[0] if len(chosen) == 1 else FallbackSynthesizer(engines)


@asynccontextmanager
async def _recognizer(chosen: RecognizerConfig, loops: StepLoops) -> AsyncGenerator[Recognizer, None]:
    match chosen:
        case SphinxConfig() as config:
            from asr.sphinx.engine import SphinxRecognizer
            from llm.demo.grammar import training_sentences

            async with SphinxRecognizer(config, training_sentences()) as recognizer:
                yield recognizer
        case VoxtralRealtimeConfig() as config:
            _require_torch("asr")
            from asr.voxtral.engine import VoxtralRecognizer

            async with _started(VoxtralRecognizer(config, await loops.of(config.device))) as recognizer:
                yield recognizer
        case VllmRealtimeConfig() as config:
            from asr.remote.engine import RemoteRecognizer
            from asr.remote.vllm import VllmRealtime

            async with RemoteRecognizer(config, VllmRealtime(config), api_key(config.api_key_env)) as recognizer:
                yield recognizer
        case MistralRealtimeConfig() as config:
            from asr.remote.engine import RemoteRecognizer
            from asr.remote.mistral import MistralRealtime

            key = required_key(config.api_key_env)
            async with RemoteRecognizer(config, MistralRealtime(config), key) as recognizer:
                yield recognizer


@asynccontextmanager
async def _language_model(chosen: LanguageModelConfig, loops: StepLoops) -> AsyncGenerator[LanguageModel, None]:
    match chosen:
        case DemoConfig() as config:
            from llm.demo.model import DemoMind

            yield DemoMind(config)
        case ChatConfig() as config:
            from llm.remote.chat_completions import ChatModel

            async with ChatModel(config, api_key(config.api_key_env)) as model:
                yield model
        case MistralChatConfig() as config:
            _require("mistralai", "llm.kind = mistral", extra="mistral")
            from llm.remote.mistral import MistralChat

            async with MistralChat(config, required_key(config.api_key_env)) as model:
                yield model
        case MinistralConfig() as config:
            _require("torch", "llm.kind = ministral", extra="engines")
            from llm.ministral.engine import MinistralLanguageModel

            async with _started(MinistralLanguageModel(config, await loops.of(config.device))) as model:
                yield model


@asynccontextmanager
async def _synthesizer(chosen: SynthesizerConfig, loops: StepLoops) -> AsyncGenerator[Synthesizer, None]:
    match chosen:
        case EspeakConfig() as config:
            from tts.espeak.engine import EspeakSynthesizer

            async with EspeakSynthesizer(config) as synthesizer:
                yield synthesizer
        case VoxtralTTSConfig() as config:
            _require_torch("tts")
            from tts.voxtral.engine import VoxtralSynthesizer

            async with _started(VoxtralSynthesizer(config, await loops.of(config.device))) as synthesizer:
                yield synthesizer
        case OmniSpeechConfig() as config:
            from tts.remote.engine import RemoteSynthesizer
            from tts.remote.omni import OmniSpeech

            async with RemoteSynthesizer(config, OmniSpeech(config), api_key(config.api_key_env)) as synthesizer:
                yield synthesizer
        case MistralSpeechConfig() as config:
            from tts.remote.engine import RemoteSynthesizer
            from tts.remote.mistral import MistralSpeech

            async with RemoteSynthesizer(
                config, MistralSpeech(config), required_key(config.api_key_env)
            ) as synthesizer:
                yield synthesizer


@asynccontextmanager
async def _started(engine: AbstractAsyncContextManager[Engine]) -> AsyncGenerator[Engine, None]:
    """An engine of our own, entered; what is wrong with its checkpoint becomes an error of ours."""
    from llm.runtime.weights.checkpoint import CheckpointError

    async with AsyncExitStack() as stack:
        try:
            started = await stack.enter_async_context(engine)
        except CheckpointError as error:
            raise EngineUnavailable(str(error)) from error
        yield started


def _require_torch(part: str) -> None:
    _require("torch", f"{part}.kind = voxtral", extra="engines")


def _require(package: str, setting: str, *, extra: str) -> None:
    if find_spec(package) is None:
        raise EngineUnavailable(
            f"{setting} needs {package}, which is not installed; "
            f"run: python -m pip install -c constraints.txt '.[{extra}]'"
        )


def comparisons(part: Literal["asr", "tts"], checkpoint: Path, cases: Path, device: str) -> Iterator["Comparison"]:
    """A checkpoint's numbers on this machine beside a reference's, one for each tensor of the cases.

    Raises:
        EngineUnavailable: no PyTorch, no such device, or the checkpoint or the cases cannot be read.
    """
    _require_torch(part)
    from llm.runtime.weights.checkpoint import CheckpointError

    if part == "asr":
        from asr.voxtral.cases import verify
    else:
        from tts.voxtral.cases import verify

    try:
        yield from verify(checkpoint, cases, device)
    except (CheckpointError, RuntimeError) as error:  # torch's word for a device that is not there
        raise EngineUnavailable(f"{device}: {error}") from error
