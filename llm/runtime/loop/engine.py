"""What our three engines have in common: they are prepared, stepped and stopped on the thread of a step loop."""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Generic, Self, TypeVar

import torch

from llm.runtime.loop.devices import DeviceMissing, open_device
from llm.runtime.loop.errors import EngineErrors
from llm.runtime.loop.outlet import Outlets
from llm.runtime.loop.step_loop import StepLoop, Steppable

S = TypeVar("S", bound=Steppable)


class LoopEngine(ABC, Generic[S]):
    """An engine on a step loop, which it may share with others. Use as `async with`."""

    errors: ClassVar[EngineErrors]

    def __init__(self, loop: StepLoop) -> None:
        """Nothing is loaded before the context is entered."""
        self._loop = loop
        self._stepper: S | None = None

    async def __aenter__(self) -> Self:
        """Load the checkpoint, reserve the cache and capture the graphs, on the loop's thread.

        Raises:
            CheckpointError: the checkpoint is missing, incomplete, does not fit its configuration or the memory.
            EngineUnreachable: there is no such device.
        """
        outlets = Outlets(asyncio.get_running_loop())
        stepper = await self._loop.run(lambda: self._prepare(outlets))
        try:
            await self._loop.attach(stepper)
        except BaseException:
            await asyncio.shield(self._loop.detach(stepper))  # it may be attached all the same
            raise
        self._stepper = stepper
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End what is in progress."""
        stepper, self._stepper = self._stepper, None
        if stepper is not None:
            await self._loop.detach(stepper)

    @property
    def _running(self) -> S:
        if self._stepper is None:
            raise self.errors.not_started()
        return self._stepper

    @abstractmethod
    def _prepare(self, outlets: Outlets) -> S:
        """On the loop's thread: the model on its device, and what serves it."""

    def _open_device(self, name: str) -> torch.device:
        try:
            return open_device(name)
        except DeviceMissing as error:
            raise self.errors.unreachable(str(error)) from None
