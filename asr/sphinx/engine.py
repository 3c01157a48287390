"""Speech to text with pocketsphinx: a recognizer without weights, for the sentences that it was given."""

import asyncio
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from asr.config import SphinxConfig
from asr.interface import AudioRejected, EngineBusy, EngineUnreachable, LanguageNotSupported, Recognition, Transcript
from asr.sphinx.process import SphinxProcess

_MOST_UNREAD = 100  # transcripts of one stream


class SphinxRecognizer:
    """pocketsphinx for many calls. Use as `async with`: entering starts its processes, leaving ends them."""

    def __init__(self, config: SphinxConfig, sentences: Iterable[str]) -> None:
        """`sentences`: what may be said, lower case without punctuation; their statistics are the language model."""
        self._config = config
        self._sentences = tuple(sentences)
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._processes: list[SphinxProcess] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._restarting = asyncio.Lock()
        self._folder = ""
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Start the processes.

        Raises:
            EngineUnreachable: pocketsphinx does not start.
        """
        stack = AsyncExitStack()
        try:
            self._folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-sphinx-"))
            await stack.enter_async_context(self._tasks)
            stack.callback(self._end_processes)
            for _ in range(self._config.workers):
                self._processes.append(await self._start())
        except BaseException:
            await stack.aclose()
            raise
        self._stack = stack
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        await self._stack.aclose()

    @property
    def pids(self) -> Sequence[int]:
        """Numbers of the processes."""
        return [process.pid for process in self._processes]

    @property
    def answer_timeout_s(self) -> float:
        """Longest wait for a final."""
        return self._config.answer_timeout_s

    def listen(self, *, language: str | None = None) -> Recognition:
        """A new stream; see `asr.interface.Recognizer`.

        Raises:
            LanguageNotSupported: another language than English.
        """
        if language is not None and language.replace("_", "-").partition("-")[0].lower() != "en":
            raise LanguageNotSupported(
                f"pocketsphinx understands English only, found {language!r}: choose another engine"
            )
        return SphinxRecognition(self)

    async def find_process(self) -> SphinxProcess:
        """The process for one more stream, started again if it has ended.

        Raises:
            EngineBusy, EngineUnreachable: every stream is taken; the process does not start.
        """
        if not self._is_open:
            raise EngineUnreachable("the engine is not started, or stopped: use it as `async with`")
        async with self._restarting:
            if sum(process.streams for process in self._processes) >= self._config.streams:
                raise EngineBusy(f"all {self._config.streams} streams are taken: try again later")
            index = min(range(len(self._processes)), key=lambda index: self._processes[index].streams)
            if not self._processes[index].is_alive:
                self._processes[index] = await self._start()
            return self._processes[index]

    async def _start(self) -> SphinxProcess:
        started: asyncio.Future[SphinxProcess] = asyncio.get_running_loop().create_future()
        serving = self._tasks.create_task(self._serve(started), name="pocketsphinx")
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        return await started

    async def _serve(self, started: asyncio.Future[SphinxProcess]) -> None:
        """Keep a process for as long as it lives."""
        settings = {
            "sentences": self._sentences,
            "folder": self._folder,
            "comfort_noise_dbfs": self._config.comfort_noise_dbfs,
        }
        try:
            async with SphinxProcess(settings) as process:
                if not started.done():  # else the task that wanted it was cancelled
                    started.set_result(process)
                    await process.serve()
        except EngineUnreachable as error:
            if not started.done():
                started.set_exception(error)

    def _end_processes(self) -> None:
        for serving in self._serving:
            serving.cancel()


class SphinxRecognition(Recognition):
    """One stream, spoken by one caller."""

    def __init__(self, engine: SphinxRecognizer) -> None:
        self._engine = engine
        self._process: SphinxProcess | None = None
        self._stream = 0
        self._unanswered = 0  # flushes
        self._transcripts: deque[Transcript] = deque()
        self._error: EngineUnreachable | None = None
        self._news = asyncio.Event()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Take a slot.

        Raises:
            EngineBusy, EngineUnreachable: no slot; pocketsphinx does not start.
        """
        self._process = await self._engine.find_process()
        self._stream = self._process.open(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_closed = True
        self._news.set()
        if self._process is not None:
            self._process.close(self._stream)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        """The next transcript.

        Raises:
            EngineUnreachable: pocketsphinx has ended, once what it said before is read.
        """
        while not self._transcripts:
            if self._is_closed:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._news.clear()
            try:
                async with asyncio.timeout(self._engine.answer_timeout_s if self._unanswered else None):
                    await self._news.wait()
            except TimeoutError:
                self.lost(EngineUnreachable("pocketsphinx does not answer: open a new stream"))
        return self._transcripts.popleft()

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take samples; see `asr.interface.Recognition`."""
        if samples.dtype != np.float32 or samples.ndim != 1:
            raise AudioRejected(
                f"wanted one channel of float32 samples at 16 kHz, found {samples.dtype} of shape {samples.shape}: "
                "convert it first"
            )
        if not np.isfinite(samples).all():
            raise AudioRejected("wanted finite samples in [-1, 1], found NaN or infinity: look at the source")
        if self._process is not None and self._error is None and samples.size:
            pcm16 = (np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)
            self._process.push(self._stream, pcm16.tobytes())

    def flush(self) -> None:
        """Ask for the final of what was pushed."""
        if self._process is not None and self._error is None:
            self._unanswered += 1
            self._process.flush(self._stream)
            self._news.set()  # from now on a waiting reader has a timeout

    def heard(self, transcript: Transcript) -> None:
        """Take a transcript from the process; an unread partial gives way to what follows it."""
        if self._error is not None:
            return
        if self._transcripts and not self._transcripts[-1].is_final:
            self._transcripts.pop()
        self._transcripts.append(transcript)
        self._unanswered -= transcript.is_final
        if len(self._transcripts) > _MOST_UNREAD:
            self.lost(EngineUnreachable(f"{_MOST_UNREAD} transcripts wait to be read: read them as they come"))
        self._news.set()

    def lost(self, error: EngineUnreachable) -> None:
        """Take the news that the process has ended."""
        self._error = error
        self._news.set()
