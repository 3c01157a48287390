"""A list of language models as one: a reply that fails before its first word is asked of the next model."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from llm.failover import Failover, FailoverErrors, Health
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

ERRORS = FailoverErrors("a reply", LanguageModelError, of_caller=(ContextTooLong,))


class FallbackLanguageModel:
    """Prefers the first model that is not cooling down after a failure."""

    def __init__(self, models: Sequence[LanguageModel]) -> None:
        self._health = Health(models)

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET) -> Reply:
        """The assistant's next message, from the first model that can give one.

        A failure after its first word is the caller's to handle: a word cannot be taken back.
        """
        return _FallbackReply(Failover(self._health, ERRORS), messages, tools, sampling)


class _FallbackReply:
    """The reply of one model after the other; the last one's error is the reply's."""

    def __init__(
        self,
        failover: Failover[LanguageModel],
        messages: Sequence[Message],
        tools: Sequence[Tool],
        sampling: Sampling,
    ) -> None:
        self._failover = failover
        self._messages = messages
        self._tools = tools
        self._sampling = sampling
        self._reply: Reply | None = None

    async def __aenter__(self) -> Self:
        await self._open_next()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._failover.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        assert self._reply is not None
        try:
            part = await anext(self._reply)
        except LanguageModelError as error:
            self._failover.fail_over(error)
            await self._open_next()
            return await self.__anext__()
        self._failover.keeps_engine = True
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
        self._reply = await self._failover.open_next(
            lambda model: model.reply(self._messages, self._tools, self._sampling)
        )
