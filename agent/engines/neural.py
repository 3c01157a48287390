"""Our own neural engines: started on the step loop of their device, compared with a reference's numbers."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from agent.engines.resources import Resources
from agent.errors import EngineUnavailable
from agent.extras import require_packages

if TYPE_CHECKING:
    from llm.runtime.loop.step_loop import StepLoop
    from llm.runtime.verify import Comparison

Engine = TypeVar("Engine")


def required_packages(quantization: str = "none") -> Mapping[str, str]:
    """What an engine of ours imports beside numpy, with the extra that brings it."""
    return {"torch": "engines"} | ({} if quantization == "none" else {"torchao": "quantization"})


@asynccontextmanager
async def start_neural(
    make: "Callable[[StepLoop], AbstractAsyncContextManager[Engine]]", device: str, resources: Resources
) -> AsyncGenerator[Engine, None]:
    """An engine of our own on its device; what is wrong with its checkpoint becomes EngineUnavailable."""
    from llm.runtime.weights.checkpoint import CheckpointError

    async with AsyncExitStack() as stack:
        try:
            engine = await stack.enter_async_context(make(await resources.step_loop(device)))
        except CheckpointError as error:
            raise EngineUnavailable(str(error)) from error
        yield engine


def compare(part: Literal["asr", "tts"], checkpoint: Path, cases: Path, device: str) -> Iterator["Comparison"]:
    """A checkpoint's numbers on this machine beside a reference's, one for each tensor of the cases.

    Raises:
        EngineUnavailable: no PyTorch, no such device, or the checkpoint or the cases cannot be read.
    """
    require_packages(required_packages(), user="parley verify")
    from llm.runtime.weights.checkpoint import CheckpointError

    if part == "asr":
        from asr.voxtral.cases import verify
    else:
        from tts.voxtral.cases import verify

    try:
        yield from verify(checkpoint, cases, device)
    except (CheckpointError, RuntimeError) as error:  # torch's word for a device that is not there
        raise EngineUnavailable(f"{device}: {error}") from error
