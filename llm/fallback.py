"""A list of language models as one: a reply that fails before its first word is asked of the next model."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from llm.failover import Health
from llm.interface import (
    AS_SET,
    ContextTooLong,
    Ending,
    LanguageModel,
    LanguageModelError,
    Message,
    Reply,
    Sampling,
    TextDelta,
    Tool,
    ToolCall,
)

logger = logging.getLogger(__name__)


class FallbackLanguageModel:
    """Prefers the first model that has not failed of late."""

    def __init__(self, models: Sequence[LanguageModel]) -> None:
        self._health = Health(models)

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET) -> Reply:
        """The assistant's next message, from the first model that can give one.

        A failure after its first word is the caller's to know: nobody can take a word back.
        """
        return _FallbackReply(self._health, messages, tools, sampling)


class _FallbackReply:
    """The reply of one model after the other; the last one's error is the reply's."""

    def __init__(
        self, health: Health[LanguageModel], messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling
    ) -> None:
        self._health = health
        self._messages = messages
        self._tools = tools
        self._sampling = sampling
        self._untried = health.order()
        self._stack = AsyncExitStack()
        self._reply: Reply | None = None
        self._has_begun = False

    async def __aenter__(self) -> Self:
        await self._open_next()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        assert self._reply is not None
        try:
            part = await anext(self._reply)
        except LanguageModelError as error:
            self._pass_over(error)
            await self._open_next()
            return await self.__anext__()
        self._has_begun = True
        return part

    def cancel(self) -> None:
        """End it."""
        if self._reply:
            self._reply.cancel()

    @property
    def ending(self) -> Ending:
        """Of the reply that was given."""
        return self._reply.ending if self._reply else Ending()

    async def _open_next(self) -> None:
        """Enter the reply of the next model that lets us in."""
        await self._stack.aclose()
        while True:
            self._tried = self._untried.pop(0)
            try:
                reply = self._tried.reply(self._messages, self._tools, self._sampling)
                self._reply = await self._stack.enter_async_context(reply)
            except LanguageModelError as error:
                self._pass_over(error)
            else:
                return

    def _pass_over(self, error: LanguageModelError) -> None:
        """Leave the current model for the next; raises its error if that is the caller's doing, or there is none."""
        if isinstance(error, ContextTooLong):
            raise error
        self._health.failed(self._tried)
        if self._has_begun or not self._untried:
            raise error
        logger.warning("a reply failed, another language model stands in: %s", error)
