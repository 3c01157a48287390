"""The engines of one part, some of which do not start."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from agent.engines.start import RETRY_S, start_engines
from agent.errors import EngineUnavailable
from tts.interface import EngineBusy, EngineUnreachable, SynthesisError

Start = Callable[[], AbstractAsyncContextManager[str]]


def starting(name: str, *failures: Exception) -> Start:
    """Starts an engine, after so many failures."""
    left = list(failures)

    @asynccontextmanager
    async def start() -> AsyncGenerator[str, None]:
        if left:
            raise left.pop(0)
        yield name

    return start


async def test_an_engine_that_does_not_start_is_left_out_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    for error in (
        EngineUnreachable("no connection"),
        EngineBusy("answered 503"),
        SynthesisError("answered 401: check the key"),
        EngineUnavailable("found no key"),
    ):
        caplog.clear()
        starts = [starting("first", error), starting("second"), starting("third")]
        async with start_engines("tts", ["a", "b", "c"], starts) as engines:
            assert engines == ["second", "third"]
        [line] = caplog.messages
        assert line == f"TTS: a does not start, continuing with b, then c: {error}"


async def test_when_none_starts_one_line_names_every_cause() -> None:
    starts = [starting("first", EngineUnreachable("no connection")), starting("second", EngineUnavailable("no key"))]
    with pytest.raises(EngineUnavailable, match=r"^no TTS engine starts: a: no connection; b: no key$"):
        await start_engines("tts", ["a", "b"], starts).__aenter__()


async def test_an_engine_with_none_behind_it_fails_as_it_is() -> None:
    with pytest.raises(EngineUnreachable, match="no connection"):
        await start_engines("tts", ["a"], [starting("first", EngineUnreachable("no connection"))]).__aenter__()


async def test_the_errors_of_whoever_uses_the_engines_are_not_touched() -> None:
    with pytest.raises(ZeroDivisionError):
        async with start_engines("tts", ["a", "b"], [starting("first", EngineBusy("full")), starting("second")]):
            raise ZeroDivisionError


def test_a_server_that_comes_back_takes_its_place(in_virtual_time: Any, caplog: pytest.LogCaptureFixture) -> None:
    away = EngineUnreachable("no connection")

    async def wait() -> None:
        starts = [starting("first", away, away), starting("second", away), starting("third")]
        async with start_engines("tts", ["a", "b", "c"], starts) as engines:
            await asyncio.sleep(RETRY_S + 1)
            assert engines == ["second", "third"]
            await asyncio.sleep(RETRY_S)
            assert engines == ["first", "second", "third"]

    in_virtual_time(wait())
    assert [record.levelno for record in caplog.records if record.levelno >= logging.WARNING] == [logging.WARNING] * 2


def test_what_only_people_can_fix_is_not_tried_again(in_virtual_time: Any) -> None:
    async def wait() -> None:
        starts = [starting("first", EngineUnavailable("no key")), starting("second")]
        async with start_engines("tts", ["a", "b"], starts) as engines:
            await asyncio.sleep(3 * RETRY_S)
            assert engines == ["second"]

    in_virtual_time(wait())
