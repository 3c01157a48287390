"""One eSpeak NG process: started when first needed, asked for one clause at a time, replaced when it fails."""

import asyncio
import importlib.util
import json
import sys
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tts.espeak import child as espeak_child
from tts.espeak.child import FAILED, MARK, REPLY, REQUEST_SIZE
from tts.interface import EngineUnreachable, SynthesisError

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Rendering:
    """What eSpeak made of one clause."""

    samples: NDArray[np.int16]  # [S], mono, at the process's sample rate
    words: tuple[tuple[int, int], ...]  # (character position, sample position), in the order spoken


def find_espeak() -> tuple[str, str | None]:
    """Path of the library and of its data (None: the library knows), from the espeakng-loader wheel or the system.

    Raises:
        EngineUnreachable: neither is installed.
    """
    # The wheel's own module may load the library; only its folder is wanted.
    wheel = importlib.util.find_spec("espeakng_loader")
    if wheel is not None and wheel.origin is not None:
        folder = Path(wheel.origin).parent
        libraries = sorted(folder.glob("libespeak-ng*")) or sorted(folder.glob("espeak-ng*.dll"))
        if libraries and (folder / "espeak-ng-data").is_dir():
            return str(libraries[0]), str(folder / "espeak-ng-data")
    system = find_library("espeak-ng")
    if system is None:
        raise EngineUnreachable("eSpeak NG is not installed: pip install espeakng-loader, or apt install espeak-ng")
    return system, None


class EspeakProcess:
    """Renders clauses; calls take turns. Nothing runs between calls, so a process that died is noticed by the next."""

    def __init__(self, answer_timeout_s: float) -> None:
        self._answer_timeout_s = answer_timeout_s
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._requests = 0
        self._header: tuple[int, int, int, int] | None = None  # of a reply whose reader was cancelled before its body
        self._sample_rate_hz = 0

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the renderings; 0 until the process has started once."""
        return self._sample_rate_hz

    @property
    def pid(self) -> int | None:
        """The process's number; None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process unless it runs.

        Raises:
            EngineUnreachable: it cannot be started.
        """
        async with self._turn:
            await self._start()

    async def stop(self) -> None:
        """End the process; the next rendering starts another. Twice is harmless."""
        process, self._process = self._process, None
        self._header = None
        if process is None:
            return
        assert process.stdin is not None
        if not process.stdin.is_closing():
            process.stdin.transport.abort()  # the process ends when its input does
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def render(self, text: str, voice: str, words_per_minute: int) -> Rendering:
        """Speak a clause with one of eSpeak's own voices ("en-us+f2").

        Raises:
            EngineUnreachable: the process died or does not answer; the next call finds a new one.
            SynthesisError: eSpeak NG refused the clause.
        """
        async with self._turn:
            process = await self._start()
            self._requests += 1
            request = {"id": self._requests, "voice": voice, "words_per_minute": words_per_minute, "text": text}
            status, words, body = await self._exchange(process, request)
        if status == FAILED:
            raise SynthesisError(f"{body.decode()}: say it differently or choose another voice")
        marks = body[: words * MARK.size]
        return Rendering(np.frombuffer(body, np.int16, offset=len(marks)), tuple(MARK.iter_unpack(marks)))

    async def _start(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self.stop()
        library, data = find_espeak()
        arguments = [library] if data is None else [library, data]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            espeak_child.__file__,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the terminal is for us; we end the process when the calls have ended
        )
        status, _, body = await self._exchange(self._process, None, _START_TIMEOUT_S)
        if status == FAILED:
            await self.stop()
            raise EngineUnreachable(f"eSpeak NG does not start: {body.decode()}")
        self._sample_rate_hz = int(body)
        return self._process

    async def _exchange(
        self, process: asyncio.subprocess.Process, request: dict[str, str | int] | None, timeout_s: float | None = None
    ) -> tuple[int, int, bytes]:
        """Send a request and await its reply (None: the greeting, with id 0): status, number of marks, body."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s or self._answer_timeout_s):
                if request is not None:
                    encoded = json.dumps(request).encode()
                    process.stdin.write(REQUEST_SIZE.pack(len(encoded)) + encoded)
                    await process.stdin.drain()
                return await self._receive(process.stdout, 0 if request is None else int(request["id"]))
        except (OSError, EOFError, TimeoutError) as error:
            await self.stop()
            raise EngineUnreachable(
                f"eSpeak NG ended or does not answer ({type(error).__name__}): try again"
            ) from error

    async def _receive(self, replies: asyncio.StreamReader, identifier: int) -> tuple[int, int, bytes]:
        while True:
            if self._header is None:
                self._header = REPLY.unpack(await replies.readexactly(REPLY.size))
            answered, status, words, size = self._header
            body = await replies.readexactly(size)
            self._header = None
            if answered == identifier:  # others answer requests whose caller was cancelled
                return status, words, body
