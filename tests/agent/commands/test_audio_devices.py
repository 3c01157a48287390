"""Microphone and loudspeaker, with a stand-in for PortAudio."""

import asyncio
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.commands.audio_devices import Speaker, open_microphone, require_portaudio
from agent.errors import AudioDeviceError

Samples = NDArray[np.float32]


class PortAudioError(Exception):
    pass


class FakeStream:
    """A device that remembers what was done with it."""

    opened: list["FakeStream"]

    def __init__(self, *, samplerate: int, channels: int, dtype: str, blocksize: int, callback: Callable[..., None]):
        assert (channels, dtype, blocksize) == (1, "float32", samplerate // 50)
        self.callback = callback
        self.written: list[Samples] = []
        self.log: list[str] = []
        self.opened.append(self)

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")

    def close(self) -> None:
        self.log.append("close")

    def write(self, data: Samples) -> bool:
        self.written.append(data)
        return False


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[FakeStream]:
    library: Any = ModuleType("sounddevice")
    FakeStream.opened = []
    library.InputStream = library.OutputStream = FakeStream
    library.PortAudioError = PortAudioError
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    return FakeStream.opened


async def test_the_microphone_hands_over_blocks_from_its_own_thread(streams: list[FakeStream]) -> None:
    async with open_microphone(16_000) as blocks:
        (stream,) = streams
        buffer = np.full((320, 1), 0.25, np.float32)
        thread = threading.Thread(target=stream.callback, args=(buffer, 320, None, None))
        thread.start()
        block = await anext(blocks)
        thread.join()
        buffer[:] = 0  # PortAudio uses it again
        assert block.shape == (320,)
        assert (block == 0.25).all()
    assert stream.log == ["start", "stop", "close"]


async def test_a_reader_that_stalls_loses_the_oldest(
    streams: list[FakeStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.commands.audio_devices._QUEUE_BLOCKS", 2)
    async with open_microphone(16_000) as blocks:
        for value in range(5):
            streams[0].callback(np.full((320, 1), value, np.float32))
        await asyncio.sleep(0)
        assert [(await anext(blocks))[0] for _ in range(2)] == [3, 4]


async def test_a_silent_microphone_is_an_error(streams: list[FakeStream], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.commands.audio_devices._WAIT_S", 0.01)
    with pytest.raises(AudioDeviceError, match="delivers nothing"):
        async with open_microphone(16_000) as blocks:
            await anext(blocks)
    assert streams[0].log == ["start", "stop", "close"]


async def test_the_speaker_plays_everything_before_it_is_closed(streams: list[FakeStream]) -> None:
    async with Speaker(24_000) as speaker:
        await speaker.write(np.ones(480, np.float32))
    assert [data.shape for data in streams[0].written] == [(480, 1)]
    assert streams[0].log == ["start", "stop", "close"]


async def test_no_device(streams: list[FakeStream], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PortAudioError("Error querying device -1")

    monkeypatch.setattr(sys.modules["sounddevice"], "InputStream", refuse)
    with pytest.raises(AudioDeviceError, match="no usable audio device"):
        async with open_microphone(16_000):
            pass


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(AudioDeviceError, match="apt-get install libportaudio2"):
        require_portaudio()
