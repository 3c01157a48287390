"""This machine's microphone and loudspeaker, through PortAudio, which is loaded only when it is needed."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import Any, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from agent.errors import AudioDeviceError

BLOCK_MS = 20
_QUEUE_BLOCKS = 500  # 10 s: a reader that stalls longer loses the oldest audio
_WAIT_S = 5.0


class _Stream(Protocol):
    """What is used of sounddevice's streams, which have no types."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def write(self, data: NDArray[np.float32]) -> bool: ...


@contextlib.asynccontextmanager
async def open_microphone(sample_rate_hz: int) -> AsyncGenerator[AsyncIterator[NDArray[np.float32]], None]:
    """Blocks of 20 ms, [S] in [-1, 1], until the context is left.

    Raises:
        AudioDeviceError: no PortAudio, no microphone, or it delivers nothing.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[NDArray[np.float32]] = asyncio.Queue(_QUEUE_BLOCKS)

    def put(block: NDArray[np.float32]) -> None:
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(block)

    def on_block(data: NDArray[np.float32], *_: object) -> None:  # in PortAudio's thread; `data` is reused by it
        loop.call_soon_threadsafe(put, data[:, 0].copy())

    async def blocks() -> AsyncIterator[NDArray[np.float32]]:
        while True:
            try:
                yield await asyncio.wait_for(queue.get(), _WAIT_S)
            except TimeoutError:
                raise AudioDeviceError("the microphone delivers nothing; check that it is plugged in") from None

    stream = _open("InputStream", sample_rate_hz, callback=on_block)
    try:
        stream.start()
        yield blocks()
    finally:
        stream.stop()
        stream.close()


class Speaker:
    """The loudspeaker; a context. Leaving it waits until everything written has been played."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz

    async def __aenter__(self) -> Self:
        self._stream = _open("OutputStream", self._sample_rate_hz)
        self._stream.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._stream.stop)
        self._stream.close()

    async def write(self, samples: NDArray[np.float32]) -> None:
        """Play samples [S] in [-1, 1]; returns when the device has taken them."""
        await asyncio.to_thread(self._stream.write, samples[:, np.newaxis])


def require_portaudio() -> None:
    """Raises AudioDeviceError if the PortAudio library is missing."""
    _library()


def _library() -> Any:
    try:
        import sounddevice  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]  # loads PortAudio, which a server does without
    except OSError:
        raise AudioDeviceError(
            "wanted the PortAudio library, found none; install it (Debian and Ubuntu: apt-get install libportaudio2)"
        ) from None
    return cast(Any, sounddevice)


def _open(kind: str, sample_rate_hz: int, callback: Callable[..., None] | None = None) -> _Stream:
    library = _library()
    try:
        return getattr(library, kind)(
            samplerate=sample_rate_hz,
            channels=1,
            dtype="float32",
            blocksize=sample_rate_hz * BLOCK_MS // 1000,
            callback=callback,
        )
    except library.PortAudioError as error:
        raise AudioDeviceError(f"no usable audio device ({error}); plug one in and check the system's sound") from None
