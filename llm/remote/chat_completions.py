"""Any server of the OpenAI chat completions protocol as a language model: vLLM, llama.cpp, Ollama, Parley's own.

Not through the `openai` client: it builds its chunks without checking them, so that a malformed one fails wherever it
is used; it takes a stream that ends in mid-reply for a whole one, and llama.cpp's `error:` lines for nothing.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from llm.config import ChatConfig
from llm.endpoint.cancellable import Abandoned, Waiting
from llm.endpoint.client import Endpoint, HttpAnswer
from llm.endpoint.errors import EndpointError
from llm.endpoint.sse import events
from llm.interface import AS_SET, Ending, EngineUnreachable, Message, Reply, Sampling, TextDelta, Tool, ToolCall
from llm.remote.stream import pieces
from llm.remote.wire import language_model_error, messages_json, sampling_json, tools_json

Pieces = AsyncGenerator[TextDelta | ToolCall | Ending, None]  # the ending last
OpenReply = Callable[[], AbstractAsyncContextManager[Pieces]]


class ChatModel:
    """A model on a chat completions server, for any number of calls. Use as `async with`."""

    def __init__(self, config: ChatConfig, key: SecretStr | None = None) -> None:
        self._config = config
        self._endpoint = Endpoint(config, key)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            LanguageModelError: the server is not there, or refuses the key.
        """
        try:
            await self._endpoint.__aenter__()
        except EndpointError as error:
            raise language_model_error(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._endpoint.__aexit__(None, None, None)

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET) -> Reply:
        """The assistant's next message; see `llm.interface.LanguageModel`."""
        config = self._config
        own = Sampling(config.temperature, config.top_p, config.seed, config.max_tokens)
        body = {
            "model": config.model,
            "messages": messages_json(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"tools": tools_json(tools)} if tools else {}),
            **sampling_json(sampling, own),
            **config.extra,
        }
        return RemoteReply(lambda: self._open(body), config.stall_timeout_s)

    @asynccontextmanager
    async def _open(self, body: dict[str, Any]) -> AsyncGenerator[Pieces, None]:
        async with self._endpoint.post("chat/completions", body) as answer, aclosing(_read(answer)) as reply:
            yield reply


async def _read(answer: HttpAnswer) -> Pieces:
    async with aclosing(answer.blocks()) as blocks, aclosing(events(blocks)) as found:
        async for piece in pieces(answer.url, found):
            yield piece
    await answer.drain()


class RemoteReply(Reply):
    """One reply, read from a server as it is wanted: a slow reader holds the server back.

    Args:
        open_reply: sends the request; its context is left, and the connection closed, when the reply's own is.
        stall_s: longest wait for a piece.
    """

    def __init__(self, open_reply: OpenReply, stall_s: float) -> None:
        self._open_reply = open_reply
        self._stall_s = stall_s
        self._waiting = Waiting()
        self._ending = Ending()
        self._pieces: Pieces | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Send the request.

        Raises:
            EngineBusy, EngineUnreachable, ContextTooLong, LanguageModelError: the server's answer, or that none came.
        """
        if not self._waiting.is_cancelled:
            try:
                self._pieces = await self._stack.enter_async_context(self._open_reply())
            except EndpointError as error:
                raise language_model_error(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._waiting.cancel_and_wait()
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        """The next piece.

        Raises:
            EngineUnreachable: nothing came for too long, or something malformed; what was delivered stays right.
        """
        if self._pieces is None or self._waiting.is_cancelled:
            raise StopAsyncIteration
        try:
            while isinstance(piece := await self._waiting.wait(anext(self._pieces), self._stall_s), Ending):
                self._ending = piece
            return piece
        except Abandoned:
            raise StopAsyncIteration from None
        except TimeoutError:
            raise EngineUnreachable(
                f"the language model said nothing for {self._stall_s:g} s in mid-reply: look at its server"
            ) from None
        except EndpointError as error:
            raise language_model_error(error) from None

    def cancel(self) -> None:
        """End it; the connection is closed when its context is left."""
        self._waiting.cancel()

    @property
    def ending(self) -> Ending:
        """As the server tells it."""
        return self._ending
