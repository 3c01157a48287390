"""Remote recognizers of either dialect, and a voice."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.remote.engine import RemoteRecognizer
from tests.fakes.recognition_servers import STEP, Make, mistral, vllm


@pytest.fixture(params=[vllm, mistral], ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture
async def engine(make: Make, realtime_server: Any) -> AsyncIterator[RemoteRecognizer]:
    async with make(realtime_server) as engine:
        yield engine


@pytest.fixture
def voice() -> NDArray[np.float32]:
    """Ten and a half steps of noise."""
    return np.random.default_rng(1).uniform(-0.5, 0.5, 10 * STEP + STEP // 2).astype(np.float32)


@pytest.fixture
def words(voice: NDArray[np.float32], words_of: Callable[[bytes], list[str]]) -> list[str]:
    """What the server hears in it."""
    return words_of((voice * 32767.0).astype("<i2").tobytes())
