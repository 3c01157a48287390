"""One pocketsphinx process as asyncio sees it: frames out to it, transcripts back to the streams that live on it."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from asr.interface import EngineUnreachable, Transcript, Word
from asr.sphinx.protocol import FRAME, SETUP_STREAM, WorkerAnswer, WorkerRequest

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 2.0
_LONGEST_BACKLOG_BYTES = 4 << 20  # two minutes of audio that the process has not taken


class Listener(Protocol):
    """Who receives what the process says of a stream."""

    def heard(self, transcript: Transcript) -> None:
        """The next transcript."""
        ...

    def lost(self, error: EngineUnreachable) -> None:
        """The process has ended: nothing more will come."""
        ...


class SphinxProcess:
    """A running process. Use as `async with`, and let a task `serve` it for as long as it lives."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._listeners: dict[int, Listener] = {}
        self._last_stream = SETUP_STREAM
        self._is_alive = False

    async def __aenter__(self) -> Self:
        """Start the process and wait until it can listen.

        Raises:
            EngineUnreachable: it does not start.
        """
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", f"{__package__}.worker"),
            # Where this process found its modules, and not in whatever folder it happens to stand.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the terminal is for us; we end the process when the calls have ended
        )
        self._is_alive = True
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                self._send(SETUP_STREAM, WorkerRequest.SETUP, json.dumps(self._settings).encode())
                _, kind, payload = await self._receive()
        except (OSError, EOFError, TimeoutError) as error:
            await self._stop()
            cause = type(error).__name__
            raise EngineUnreachable(f"pocketsphinx does not start ({cause}): see its messages") from error
        except BaseException:
            await self._stop()
            raise
        if kind != WorkerAnswer.READY:
            await self._stop()
            raise EngineUnreachable(f"pocketsphinx does not start: {payload.decode()}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether streams can be opened."""
        return self._is_alive

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    async def serve(self) -> None:
        """Hand the process's transcripts to their streams until it ends; then every stream is lost."""
        try:
            while True:
                stream, _, payload = await self._receive()
                if listener := self._listeners.get(stream):  # else it was closed meanwhile
                    listener.heard(_read_transcript(json.loads(payload)))
        except (OSError, EOFError):
            pass
        finally:
            self._lose("pocketsphinx has ended: open a new stream")

    def open(self, listener: Listener) -> int:
        """A new stream's number."""
        self._last_stream += 1
        self._listeners[self._last_stream] = listener
        self._send(self._last_stream, WorkerRequest.OPEN)
        return self._last_stream

    def push(self, stream: int, audio: bytes) -> None:
        """Send 16-bit samples. A process that lags hopelessly is given up, and its streams are lost."""
        self._send(stream, WorkerRequest.AUDIO, audio)
        if self._is_alive and self._writer.transport.get_write_buffer_size() > _LONGEST_BACKLOG_BYTES:
            self._lose("pocketsphinx lags two minutes behind: open fewer streams")
            self._writer.transport.abort()

    def flush(self, stream: int) -> None:
        """Ask for the final transcript."""
        self._send(stream, WorkerRequest.FLUSH)

    def close(self, stream: int) -> None:
        """End a stream; nothing more is handed to its listener. Twice is harmless."""
        if self._listeners.pop(stream, None) is not None:
            self._send(stream, WorkerRequest.CLOSE)

    @property
    def _writer(self) -> asyncio.StreamWriter:
        assert self._process is not None
        assert self._process.stdin is not None
        return self._process.stdin

    def _send(self, stream: int, kind: WorkerRequest, payload: bytes = b"") -> None:
        if self._is_alive:
            self._writer.write(FRAME.pack(stream, kind, len(payload)) + payload)

    async def _receive(self) -> tuple[int, int, bytes]:
        assert self._process is not None
        assert self._process.stdout is not None
        stream, kind, size = FRAME.unpack(await self._process.stdout.readexactly(FRAME.size))
        return stream, kind, await self._process.stdout.readexactly(size)

    def _lose(self, reason: str) -> None:
        self._is_alive = False
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            listener.lost(EngineUnreachable(reason))

    async def _stop(self) -> None:
        self._is_alive = False
        if not self._writer.is_closing():
            self._writer.transport.abort()  # the process ends when its input does
        assert self._process is not None
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _read_transcript(value: Mapping[str, Any]) -> Transcript:
    return Transcript(
        text=value["text"],
        is_final=value["is_final"],
        start_samples=value["start"],
        end_samples=value["end"],
        words=tuple(Word(*word) for word in value.get("words", ())),
        confidence=value.get("confidence"),
    )
