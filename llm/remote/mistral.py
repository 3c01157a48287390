"""Mistral's cloud as a language model, through Mistral's own client."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self, cast

import httpx2
from mistralai.client import Mistral
from mistralai.client.errors import MistralError, NoResponseError
from mistralai.client.models import CompletionEvent
from mistralai.client.utils.eventstreaming import EventStreamAsync
from pydantic import SecretStr

from llm.config import MistralChatConfig
from llm.endpoint.errors import EndpointError, EndpointUnreachable, refusal
from llm.endpoint.keep_warm import KeepWarm
from llm.endpoint.retry import retry
from llm.interface import AS_SET, Message, Reply, Sampling, TextDelta, Tool
from llm.remote.chat_completions import Pieces, RemoteReply
from llm.remote.stream import Chunk, ReplyAssembler
from llm.remote.wire import language_model_error, messages_json, sampling_json, tools_json

_VERSION = "/v1"  # which the client adds to the server's URL by itself


class MistralChat:
    """A model of Mistral's cloud, for any number of calls. Use as `async with`."""

    def __init__(self, config: MistralChatConfig, key: SecretStr) -> None:
        self._config = config
        self._key = key
        self._client: Mistral | None = None
        self._http = httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=3 * config.keep_warm_s)
        )
        self._warm = KeepWarm(self._greet, config.keep_warm_s)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            LanguageModelError: the cloud cannot be reached, or refuses the key.
        """
        config = self._config
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._http)
            self._client = Mistral(
                api_key=self._key.get_secret_value(),
                server_url=config.base_url.rstrip("/").removesuffix(_VERSION),
                async_client=self._http,
                timeout_ms=round(1000 * max(config.answer_timeout_s, config.stall_timeout_s)),
            )
            try:
                await retry(self._greet, config.retry_limit_s)
            except EndpointError as error:
                raise language_model_error(error) from None
            await stack.enter_async_context(self._warm)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client = None
        await self._stack.aclose()

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET) -> Reply:
        """The assistant's next message; see `llm.interface.LanguageModel`."""
        config = self._config
        own = Sampling(config.temperature, config.top_p, config.seed, config.max_tokens)
        request = {
            "model": config.model,
            "messages": messages_json(messages),
            **({"tools": tools_json(tools)} if tools else {}),
            **sampling_json(sampling, own, seed="random_seed"),
        }
        return RemoteReply(lambda: self._open(request), config.stall_timeout_s)

    @property
    def _running(self) -> Mistral:
        if self._client is None:
            raise EndpointUnreachable("the engine is not started, or stopped: enter its context first")
        return self._client

    @property
    def _url(self) -> str:
        return self._config.url("chat/completions")

    @asynccontextmanager
    async def _open(self, request: dict[str, Any]) -> AsyncGenerator[Pieces, None]:
        stream = await retry(lambda: self._send(request), self._config.retry_limit_s)
        try:
            async with stream, aclosing(stream.generator), aclosing(self._read(stream)) as reply:
                yield reply
        finally:
            self._warm.closed_one()  # the client closes its connection after every stream, even at its proper end

    async def _send(self, request: dict[str, Any]) -> EventStreamAsync[CompletionEvent]:
        with self._errors():
            async with self._in_time():
                return await self._running.chat.stream_async(**cast(Any, request))

    async def _read(self, stream: EventStreamAsync[CompletionEvent]) -> Pieces:
        assembler = ReplyAssembler()
        with self._errors():
            async for event in stream:
                if text := assembler.add(Chunk.model_validate(event.data.model_dump(mode="json"))):
                    yield TextDelta(text)
        for call in assembler.whole_calls(self._url):
            yield call
        yield assembler.ending

    async def _greet(self) -> None:
        """A small request, past the client: it would check every field of an answer that is not read."""
        url = self._config.url("models")
        with self._errors():
            async with self._in_time():
                answer = await self._http.get(url, headers={"Authorization": f"Bearer {self._key.get_secret_value()}"})
        if answer.status_code >= 400:
            raise refusal(url, answer.status_code, answer.headers, answer.text, self._config.api_key_env)

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(self._config.answer_timeout_s):
                yield
        except TimeoutError:
            limit_s = self._config.answer_timeout_s
            raise EndpointUnreachable(f"{self._config.base_url} did not answer in {limit_s:g} s: try again") from None

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        """Turn the errors of the client into ours."""
        try:
            yield
        except MistralError as error:
            if error.status_code >= 400:
                raise refusal(
                    self._url, error.status_code, error.headers, error.body, self._config.api_key_env
                ) from None
            raise EndpointUnreachable(f"{self._url} sent a malformed answer: update mistralai, or report it") from None
        except (httpx2.HTTPError, NoResponseError) as error:
            raise EndpointUnreachable(
                f"{self._url}: no connection ({str(error) or type(error).__name__}): check the network and base_url",
                retry_after_s=0.0,
            ) from None
