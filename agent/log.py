"""Standard logging for the whole process, the call's id on every line, the libraries' chatter kept down."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from loguru import Message

_NO_CALL = "-"
_FORMAT = "%(asctime)s %(levelname)-7s %(call)-8s %(name)s: %(message)s"
_CHATTY = ("aioice", "aiortc", "aiohttp.access", "asyncio", "numba", "urllib3")

_call_id: ContextVar[str] = ContextVar("call_id", default=_NO_CALL)


@contextmanager
def call_context(call_id: str) -> Generator[None, None, None]:
    """Within it, and in the tasks started there, every log line bears this call's id."""
    token = _call_id.set(call_id)
    try:
        yield
    finally:
        _call_id.reset(token)


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send the process's log lines to `stream`, by default stderr.

    Args:
        level: debug, info, warning or error. Transcripts and library chatter appear at debug only.
        stream: a text stream.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(_add_call_id)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    is_debug = level == "debug"
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if is_debug else logging.WARNING)
    _redirect_loguru("DEBUG" if is_debug else "WARNING")


def _add_call_id(record: logging.LogRecord) -> bool:
    record.call = _call_id.get()
    return True


def _redirect_loguru(level: str) -> None:
    """Pipecat logs by loguru, to stderr and at debug, transcripts included: send that to standard logging."""
    from loguru import logger  # noqa: PLC0415  # commands without Pipecat do not need it at import

    logger.remove()
    logger.add(_to_logging, level=level, format="{message}")


def _to_logging(message: "Message") -> None:
    record = message.record
    target = logging.getLogger(record["name"] or "loguru")
    exception = record["exception"]
    target.log(record["level"].no, "%s", record["message"], exc_info=exception.value if exception else None)
