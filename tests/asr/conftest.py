"""Tiny models, checkpoints and a server for the tests of speech recognition."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from aiohttp import web
from numpy.typing import NDArray

from asr.voxtral.model import VoxtralRealtime
from tests.fakes.realtime_server import RealtimeServer, hear_words
from tests.fakes.tiny_realtime import SIZES, STEP_SAMPLES, Reference

CPU = torch.device("cpu")


@pytest.fixture(scope="session", params=SIZES)
def reference(request: pytest.FixtureRequest) -> Reference:
    torch.set_num_threads(1)
    return Reference(SIZES[request.param], seed=len(request.param))


@pytest.fixture(scope="session")
def checkpoint(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face checkpoint of the reference."""
    return reference.save(tmp_path_factory.mktemp("checkpoint"), "hugging face")


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> VoxtralRealtime:
    return VoxtralRealtime.load(checkpoint, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small checkpoint, where one is enough."""
    torch.set_num_threads(1)
    return Reference(SIZES["narrow"], seed=1).save(tmp_path_factory.mktemp("tiny"), "consolidated")


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Path) -> VoxtralRealtime:
    return VoxtralRealtime.load(tiny_checkpoint, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="session")
def speech() -> Callable[[int, int], NDArray[np.float32]]:
    """`speech(steps, seed)`: noise with a slow envelope, in part silent and silent at the end, [1280 steps]."""

    def make(steps: int, seed: int) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        loudness = rng.uniform(0.0, 0.5, steps) * (rng.random(steps) > 0.2)
        loudness[-1] = 0.0
        envelope = np.repeat(loudness, STEP_SAMPLES)
        return (rng.standard_normal(len(envelope)) * envelope).clip(-1.0, 1.0).astype(np.float32)

    return make


@pytest.fixture
def words_of() -> Callable[[bytes], list[str]]:
    """What the server hears in some audio."""
    return hear_words


@pytest.fixture
async def realtime_server() -> AsyncIterator[RealtimeServer]:
    server = RealtimeServer()
    app = web.Application()
    app.add_routes([
        web.get("/v1/models", server.models),
        web.get("/v1/realtime", server.listen),
        web.get("/v1/audio/transcriptions/realtime", server.listen),
    ])  # fmt: skip
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()
