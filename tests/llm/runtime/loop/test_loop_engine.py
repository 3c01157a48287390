import asyncio

import pytest
import torch

from llm.runtime.loop.engine import LoopEngine
from llm.runtime.loop.errors import EngineErrors
from llm.runtime.loop.outlet import Outlets
from llm.runtime.loop.step_loop import StepLoop, Steppable


class NoDevice(Exception):
    pass


class Stepper:
    """Has nothing to do; notes that it was stopped."""

    def __init__(self, stops: list[str]) -> None:
        self.stops = stops

    def next_deadline(self) -> None:
        return None

    def step(self) -> None:
        raise AssertionError

    def fail(self, error: Exception) -> None:
        raise AssertionError from error

    def stop(self) -> None:
        self.stops.append("stopped")


class Engine(LoopEngine[Stepper]):
    errors = EngineErrors(
        engine="the engine",
        slots="slots",
        retry="try again",
        cache_setting="cache",
        failed=RuntimeError,
        busy=RuntimeError,
        unreachable=NoDevice,
    )

    def __init__(self, loop: StepLoop, device: str = "cpu") -> None:
        super().__init__(loop)
        self._name_of_device = device
        self.stops: list[str] = []
        self.device: torch.device | None = None

    def _prepare(self, outlets: Outlets) -> Stepper:
        self.device = self._open_device(self._name_of_device)
        return Stepper(self.stops)

    def stepper(self) -> Steppable:
        return self._running


async def test_runs_between_entering_and_leaving() -> None:
    async with StepLoop("test") as loop:
        engine = Engine(loop)
        with pytest.raises(NoDevice, match="stopped"):
            engine.stepper()
        async with engine:
            assert isinstance(engine.stepper(), Stepper)
        with pytest.raises(NoDevice, match="stopped"):
            engine.stepper()
    assert engine.stops == ["stopped"]


async def test_who_is_cancelled_while_it_is_attached_leaves_no_stepper(monkeypatch: pytest.MonkeyPatch) -> None:
    async with StepLoop("test") as loop:
        attach = loop.attach

        async def attach_and_be_cancelled(engine: Steppable) -> None:
            await attach(engine)
            raise asyncio.CancelledError

        monkeypatch.setattr(loop, "attach", attach_and_be_cancelled)
        engine = Engine(loop)
        with pytest.raises(asyncio.CancelledError):
            await engine.__aenter__()
        assert engine.stops == ["stopped"]


async def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    async with StepLoop("test") as loop:
        with pytest.raises(NoDevice, match=r"no cuda:1 device here.*cpu works"):
            await Engine(loop, "cuda:1").__aenter__()


async def test_a_gpu_beyond_those_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    async with StepLoop("test") as loop:
        with pytest.raises(NoDevice, match="no cuda:1 device here"):
            await Engine(loop, "cuda:1").__aenter__()


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
async def test_the_thread_works_on_a_numbered_gpu(name: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[int] = []
    allowed: list[bool] = []

    def set_device(device: torch.device) -> None:
        # what torch itself asks of its argument
        current.append(torch.cuda._utils._get_device_index(device))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", allowed.append)
    async with StepLoop("test") as loop, Engine(loop, name) as engine:
        assert engine.device == torch.device("cuda", index)
    assert current == [index]
    assert allowed == [False]
