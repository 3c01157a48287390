"""One HTTP server that other people run, as the engines on it need it: warm connections, few retries, clear errors."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import SecretStr

from llm.endpoint.config import EndpointConfig
from llm.endpoint.errors import EndpointRefused, EndpointUnreachable, refusal
from llm.endpoint.keep_warm import KeepWarm
from llm.endpoint.retry import retry

_HEARTBEAT_S = 10.0  # a web socket whose peer is gone says so within 1.5 of these
_CLOSE_TIMEOUT_S = 0.5  # for the closing handshake of a web socket; then the connection is dropped
_DRAIN_TIMEOUT_S = 0.1
_LONGEST_ERROR = 65_536  # bytes that are read of an error's body


class HttpAnswer:
    """A successful answer whose body is still to be read."""

    def __init__(self, url: str, response: aiohttp.ClientResponse) -> None:
        self.url = url
        self.content_type = response.content_type
        self._response = response

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, in blocks of any size.

        Raises:
            EndpointUnreachable: the connection broke before the body's end.
        """
        with _errors_of(self.url):
            async for block in self._response.content.iter_any():
                yield block

    async def drain(self) -> None:
        """Read to the body's end, which is expected now: then its connection can carry the next request."""
        with suppress(TimeoutError, EndpointUnreachable), _errors_of(self.url):
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                while await self._response.content.readany():
                    pass


class EndpointSocket:
    """A web socket that carries a JSON object in every message."""

    def __init__(self, url: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._url = url
        self._socket = socket

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message.

        Raises:
            EndpointUnreachable: the connection is gone.
        """
        with _errors_of(self._url):
            await self._socket.send_str(json.dumps(message))

    async def close(self) -> None:
        """End the connection; a waiting receiver gets an error."""
        await self._socket.close()

    async def receive(self) -> Mapping[str, Any]:
        """The next message.

        Raises:
            EndpointUnreachable: the connection is gone, or the message is not a JSON object.
        """
        with _errors_of(self._url):
            message = await self._socket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise EndpointUnreachable(
                f"{self._url} closed the connection (code {self._socket.close_code}): look at the server's log",
                retry_after_s=0.0,
            )
        try:
            found: Any = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EndpointUnreachable(
                f"{self._url} sent a message that is not a JSON object: look at the server", retry_after_s=0.0
            )
        return found  # pyright: ignore[reportUnknownVariableType]  # its fields are checked where they are read


class Endpoint:
    """A server. Use as `async with`: entering asks it for its models, leaving drops its connections."""

    def __init__(self, config: EndpointConfig, key: SecretStr | None = None) -> None:
        self._config = config
        self._headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._session: aiohttp.ClientSession | None = None
        self._warm = KeepWarm(self._greet, config.keep_warm_s)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open a first connection.

        Raises:
            EndpointError: the server is not there, or refuses the key.
        """
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3 * self._config.keep_warm_s)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._config.connect_timeout_s)
        async with AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)
            )
            await self._greet()
            await stack.enter_async_context(self._warm)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session = None
        await self._stack.aclose()

    async def get(self, path: str) -> Any:
        """The JSON at a path.

        Raises:
            EndpointError: no answer, an error, or no JSON.
        """
        async with self._request("GET", path) as answer:
            try:
                async with asyncio.timeout(self._config.stall_timeout_s):
                    return json.loads(b"".join([block async for block in answer.blocks()]))
            except TimeoutError:
                raise EndpointUnreachable(f"{answer.url} did not finish its answer: look at the server") from None
            except ValueError:
                raise EndpointUnreachable(f"{answer.url} did not answer in JSON: check base_url") from None

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[HttpAnswer, None]:
        """The answer to a JSON body. Leaving before its end closes the connection, by which the server cancels it.

        Raises:
            EndpointError: no answer or an error.
        """
        async with self._request("POST", path, body) as answer:
            yield answer

    @asynccontextmanager
    async def web_socket(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[EndpointSocket, None]:
        """A web socket, tried once.

        Raises:
            EndpointError: no connection, or an error in place of it.
        """
        url = self._config.url(path)
        try:
            async with asyncio.timeout(self._config.answer_timeout_s):
                with _errors_of(url):
                    socket = await self._running.ws_connect(
                        url,
                        params=query,
                        heartbeat=_HEARTBEAT_S,
                        timeout=aiohttp.ClientWSTimeout(
                            ws_close=_CLOSE_TIMEOUT_S  # pyright: ignore[reportCallIssue]  # attrs, unseen by pyright
                        ),
                    )
        except TimeoutError:
            raise self._late(url) from None
        except _HandshakeRefused as error:
            raise refusal(url, error.status, error.headers, "", self._config.api_key_env) from None
        async with socket:
            yield EndpointSocket(url, socket)

    @property
    def _running(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise EndpointUnreachable("the engine is not started, or stopped: enter its context first")
        return self._session

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[HttpAnswer, None]:
        url = self._config.url(path)
        response = await retry(lambda: self._send(method, url, body), self._config.retry_limit_s)
        try:
            yield HttpAnswer(url, response)
        finally:
            if not response.content.at_eof():
                response.close()
                self._warm.closed_one()

    async def _send(self, method: str, url: str, body: Mapping[str, Any] | None) -> aiohttp.ClientResponse:
        """One attempt; its answer if that is none of an error."""
        try:
            async with asyncio.timeout(self._config.answer_timeout_s):
                with _errors_of(url):
                    response = await self._running.request(method, url, json=body)
                    if response.status < 400:
                        return response
                    async with response:
                        said = await response.content.read(_LONGEST_ERROR)
        except TimeoutError:
            raise self._late(url) from None
        text = said.decode("utf-8", "replace")
        raise refusal(url, response.status, response.headers, text, self._config.api_key_env)

    def _late(self, url: str) -> EndpointUnreachable:
        return EndpointUnreachable(f"{url} did not answer in {self._config.answer_timeout_s:g} s: look at the server")

    async def _greet(self) -> None:
        """A small request; a server that does not list its models is none the worse."""
        try:
            await self.get("models")
        except EndpointRefused as error:
            if error.status not in (404, 405):
                raise


class _HandshakeRefused(Exception):
    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


@contextmanager
def _errors_of(url: str) -> Generator[None, None, None]:
    """Turn the errors of aiohttp into ours."""
    try:
        yield
    except aiohttp.WSServerHandshakeError as error:
        raise _HandshakeRefused(error.status, error.headers or {}) from None
    except aiohttp.ClientConnectorError as error:
        raise EndpointUnreachable(
            f"{url}: no connection ({error.strerror or 'unknown'}): start the server, or correct base_url",
            retry_after_s=0.0,
        ) from None
    except (aiohttp.ClientError, OSError) as error:
        broke = f"{url}: the connection broke ({str(error) or type(error).__name__}): look at the server"
        raise EndpointUnreachable(broke, retry_after_s=0.0) from None
