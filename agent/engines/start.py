"""Starts the engines of one part; those that cannot start are left out for as long as another can do their work."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from agent.errors import EngineUnavailable
from agent.settings.config import Part
from asr.interface import RecognitionError
from llm.interface import LanguageModelError
from tts.interface import SynthesisError

RETRY_S = 30.0  # between attempts to start an engine that was left out

Engine = TypeVar("Engine")
Start = Callable[[], AbstractAsyncContextManager[Engine]]

_ERRORS = (EngineUnavailable, RecognitionError, LanguageModelError, SynthesisError)
_log = logging.getLogger(__name__)


@asynccontextmanager
async def start_engines(
    part: Part, kinds: Sequence[str], starts: Sequence[Start[Engine]]
) -> AsyncGenerator[list[Engine], None]:
    """The engines that start, in order; one whose server is away joins them in its place when that is back.

    Args:
        part: what they do in a call.
        kinds: what each of them is.
        starts: for each, what makes it, to be called and entered once an attempt.

    Raises:
        EngineUnavailable: none of them starts. The error of an engine with none behind it is raised as it is.
    """
    name = part.upper()
    there: dict[int, Engine] = {}  # by place
    engines: list[Engine] = []
    causes: dict[int, Exception] = {}

    async def keep_trying(place: int) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                async with starts[place]() as engine:
                    engines.insert(sum(other < place for other in there), engine)
                    there[place] = engine
                    _log.info("%s: %s has started and is in its place again", name, kinds[place])
                    await asyncio.Event().wait()  # until everything is stopped
            except Exception as error:
                _log.debug("%s: %s still does not start: %r", name, kinds[place], error)

    async with AsyncExitStack() as stack:
        for place, start in enumerate(starts):
            try:
                there[place] = await stack.enter_async_context(start())
            except _ERRORS as error:
                if len(starts) == 1:
                    raise
                causes[place] = error
        if not there:
            said = "; ".join(f"{kinds[place]}: {error}" for place, error in causes.items())
            raise EngineUnavailable(f"no {name} engine starts: {said}")
        engines += there.values()
        retries = AsyncExitStack()  # closed by itself: a task group would wrap the errors of whoever uses the engines
        stack.push_async_callback(retries.aclose)
        tasks = await retries.enter_async_context(asyncio.TaskGroup())
        instead = ", then ".join(kinds[place] for place in there)
        for place, error in causes.items():
            _log.warning("%s: %s does not start, continuing with %s: %s", name, kinds[place], instead, error)
            if not isinstance(error, EngineUnavailable):  # a key, a package or weights: only people bring these
                retries.callback(tasks.create_task(keep_trying(place), name=f"start {kinds[place]}").cancel)
        yield engines
