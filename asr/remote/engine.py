"""Speech to text on a server of someone else's that listens over a web socket, whatever its dialect.

A stream keeps one connection for all its turns. When that is lost, another takes its place and hears again what was
not answered. Not through `mistralai` for Mistral's: its connection swallows the cancellation of its reader,
and so a call could not be ended while it listens.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from asr.config import MistralRealtimeConfig, VllmRealtimeConfig
from asr.interface import EngineBusy, EngineUnreachable, Recognition, RecognitionError, Transcript, check_samples
from asr.remote.dialect import HeardPiece, RealtimeDialect, TurnDone
from asr.remote.transcripts import Transcripts
from asr.remote.turns import FellBehind, RemoteTurns
from llm.endpoint.client import Endpoint, EndpointSocket
from llm.endpoint.errors import EndpointBusy, EndpointError, EndpointUnreachable

_log = logging.getLogger(__name__)

_STABLE_S = 5.0  # a connection that lived as long was a good one
_FIRST_PAUSE_S = 0.1  # before the second attempt to replace a connection; the first is at once


class RemoteRecognizer:
    """A recognition server, for many calls. Use as `async with`."""

    def __init__(
        self,
        config: VllmRealtimeConfig | MistralRealtimeConfig,
        dialect: RealtimeDialect,
        key: SecretStr | None = None,
    ) -> None:
        self.config = config
        self.dialect = dialect
        self._endpoint = Endpoint(config, key)
        self._open_streams = 0

    async def __aenter__(self) -> Self:
        """See that the server is there.

        Raises:
            RecognitionError: it is not, or refuses the key.
        """
        try:
            await self._endpoint.__aenter__()
        except EndpointError as error:
            raise recognition_error(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._endpoint.__aexit__(None, None, None)

    def listen(self, *, language: str | None = None) -> Recognition:  # noqa: ARG002  # the model finds it out
        """A new stream; see `asr.interface.Recognizer`."""
        return RemoteRecognition(self)

    def take_slot(self) -> None:
        """Count a stream in, or raise EngineBusy."""
        if self._open_streams >= self.config.streams:
            raise EngineBusy(f"all {self.config.streams} streams are taken: try again later")
        self._open_streams += 1

    def free_slot(self) -> None:
        """Count a stream out."""
        self._open_streams -= 1

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[EndpointSocket, None]:
        """A connection that is ready for audio.

        Raises:
            EndpointError: there is none to be had.
        """
        limit_s = self.config.answer_timeout_s
        async with self._endpoint.web_socket(self.dialect.path, self.dialect.query) as socket:
            try:
                async with asyncio.timeout(limit_s):
                    await self.dialect.open(socket)
            except TimeoutError:
                raise EndpointUnreachable(
                    f"{self.config.base_url} opened no session in {limit_s:g} s: look at the server"
                ) from None
            yield socket


class RemoteRecognition(Recognition):
    """One stream, spoken by one caller."""

    def __init__(self, engine: RemoteRecognizer) -> None:
        self._engine = engine
        self._config = engine.config
        self._turns = RemoteTurns(engine.dialect, engine.config.backlog_s)
        self._transcripts = Transcripts()
        self._has_work = asyncio.Event()
        self._failures = 0  # connections lost since the last that was any good
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = asyncio.TaskGroup()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            EngineBusy, EngineUnreachable, RecognitionError: no slot; no server, or it refuses.
        """
        self._engine.take_slot()
        self._stack.callback(self._engine.free_slot)
        await self._stack.enter_async_context(self._tasks)
        self._stack.callback(self._tasks.create_task(self._run(), name="remote recognition").cancel)
        try:
            await self._opened
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transcripts.close()
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        """The next transcript.

        Raises:
            EngineBusy: the server fell too far behind.
            EngineUnreachable, RecognitionError: the server is lost, or refuses to go on.
        """
        return await self._transcripts.take()

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take samples; see `asr.interface.Recognition`."""
        check_samples(samples)
        if self._transcripts.is_over or not samples.size:
            return
        try:
            self._turns.push((np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())
        except FellBehind:
            self._transcripts.fail(
                EngineBusy(f"the server fell {self._config.backlog_s:g} s behind: listen to fewer streams at once")
            )
        self._has_work.set()

    def flush(self) -> None:
        """End the turn; see `asr.interface.Recognition`."""
        if not self._transcripts.is_over:
            self._transcripts.put(self._turns.flush())
            self._has_work.set()

    async def _run(self) -> None:
        """Have a connection for as long as that can be done."""
        now_s = asyncio.get_running_loop().time
        try:
            while True:
                began_s = now_s()
                try:
                    await self._use_connection()
                except EndpointError as error:
                    if now_s() - began_s > _STABLE_S:
                        self._failures = 0
                    await self._recover(error)
        except EndpointError as error:
            if self._opened.done():
                self._transcripts.fail(recognition_error(error))
            else:
                self._opened.set_exception(recognition_error(error))

    async def _use_connection(self) -> None:
        """Use one connection until it is lost, which is an EndpointError."""
        async with self._engine.connect() as socket:
            if not self._opened.done():
                self._opened.set_result(None)
            self._turns.rewind()
            sending = self._tasks.create_task(self._send(socket), name="remote recognition, sending")
            try:
                await self._receive(socket)
            finally:
                sending.cancel()
                await asyncio.wait([sending])

    async def _recover(self, error: EndpointError) -> None:
        """Wait until the next attempt, or raise the error if there is none."""
        self._failures += 1
        if error.retry_after_s is None or self._failures > self._config.reconnects:
            raise error
        pause_s = _FIRST_PAUSE_S * 2.0 ** (self._failures - 2) if self._failures > 1 else 0.0
        wait_s = max(error.retry_after_s, pause_s)
        if wait_s > self._config.retry_limit_s:
            raise error
        if not self._turns.is_empty:
            _log.warning("a recognition server was lost in mid-turn, replaying: %s", error)
        await asyncio.sleep(wait_s)

    async def _receive(self, socket: EndpointSocket) -> None:
        while True:
            match self._engine.dialect.read(await socket.receive()):
                case HeardPiece(text):
                    if partial := self._turns.heard(text):
                        self._transcripts.put([partial])
                case TurnDone() as done:
                    self._transcripts.put(self._turns.done(done))
                case None:
                    continue
            self._failures = 0
            self._has_work.set()

    async def _send(self, socket: EndpointSocket) -> None:
        with suppress(EndpointError):  # the receiver gets it as well
            while True:
                self._has_work.clear()
                while messages := self._turns.next_messages():
                    for message in messages:
                        await socket.send(message)
                try:
                    async with asyncio.timeout(self._config.flush_timeout_s if self._turns.is_finishing else None):
                        await self._has_work.wait()
                except TimeoutError:
                    _log.warning("no end of a turn in %g s: taking what was heard", self._config.flush_timeout_s)
                    self._transcripts.put(self._turns.settle())
                    await socket.close()  # what it may still say belongs to no turn
                    return


def recognition_error(error: EndpointError) -> RecognitionError:
    """What an error of the server means to the caller of the recognizer."""
    if isinstance(error, EndpointBusy):
        return EngineBusy(str(error))
    if isinstance(error, EndpointUnreachable):
        return EngineUnreachable(str(error))
    return RecognitionError(str(error))
