"""Log lines: the call's id on each, Pipecat's among them, transcripts kept out."""

import asyncio
import io
import logging
from collections.abc import Iterator

import pytest
from loguru import logger as loguru_logger

from agent.log import call_context, configure_logging


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    loguru_logger.remove()


async def test_each_line_bears_the_id_of_its_call(log: io.StringIO) -> None:
    configure_logging("info", log)

    async def hold(call_id: str) -> None:
        with call_context(call_id):
            await asyncio.sleep(0)
            logging.getLogger("somewhere").info("hello from %s", call_id)

    await asyncio.gather(hold("aaaa"), hold("bbbb"))
    logging.getLogger("somewhere").info("hello from nobody")
    lines = log.getvalue().splitlines()
    assert [line.split()[3] for line in lines] == [line.split()[-1] for line in lines[:2]] + ["-"]


def test_pipecat_is_heard_from_warnings_on_and_through_logging(log: io.StringIO) -> None:
    configure_logging("info", log)
    with call_context("cccc"):
        loguru_logger.debug("what the caller said")
        loguru_logger.info("also chatter")
        loguru_logger.warning("trouble with {}", "50% {braces}")
    (line,) = log.getvalue().splitlines()
    assert line.endswith("trouble with 50% {braces}")
    assert " cccc " in line


def test_debug_shows_everything(log: io.StringIO) -> None:
    configure_logging("debug", log)
    loguru_logger.debug("what the caller said")
    assert "what the caller said" in log.getvalue()


def test_an_exception_of_pipecat_keeps_its_traceback(log: io.StringIO) -> None:
    configure_logging("info", log)
    try:
        raise ValueError("broken")
    except ValueError:
        loguru_logger.exception("it failed")
    assert "ValueError: broken" in log.getvalue()
