"""What engines are given to start with: the step loop of each device, and API keys from the environment."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from agent.errors import EngineUnavailable

if TYPE_CHECKING:
    from llm.runtime.loop.step_loop import StepLoop


class Resources:
    """Shared by the engines of one process; a context, left after them."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._loops: dict[str, StepLoop] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def step_loop(self, device: str) -> "StepLoop":
        """The loop of this device, such as cpu, cuda or cuda:1; started for the first engine that asks. Needs torch."""
        from llm.runtime.loop.step_loop import StepLoop

        name = "cuda:0" if device == "cuda" else device
        if name not in self._loops:
            self._loops[name] = await self._stack.enter_async_context(StepLoop(name))
        return self._loops[name]

    def api_key(self, name: str | None) -> SecretStr | None:
        """The key in that environment variable; None if none is named.

        Raises:
            EngineUnavailable: the variable is not set, or empty.
        """
        return self.required_key(name) if name else None

    def required_key(self, name: str | None) -> SecretStr:
        """The key in that environment variable.

        Raises:
            EngineUnavailable: none is named; the variable is not set, or empty.
        """
        if not name:
            raise EngineUnavailable("this engine needs an API key: name its environment variable in api_key_env")
        key = self._environment.get(name, "").strip()
        if not key:
            raise EngineUnavailable(
                f"wanted an API key in the environment variable {name}, found none: export {name}=..."
            )
        return SecretStr(key)
