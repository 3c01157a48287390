"""What clients send: JSON of a schema, within a size and a time."""

import asyncio
import json
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from webrtc.http.errors import RequestRefused

Body = TypeVar("Body", bound=BaseModel)

_SHOWN_CHARS = 60  # of a wrong value


async def read_json(request: web.Request, schema: type[Body], *, max_bytes: int, timeout_s: float) -> Body:
    """The request's JSON body.

    Raises:
        RequestRefused: 400, not JSON or not of the schema; 408, it did not arrive in time; 413, larger than allowed.
    """
    raw = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_any():
                raw += chunk
                if len(raw) > max_bytes:
                    raise RequestRefused(413, f"the request is larger than {max_bytes} bytes", code="too_large")
    except TimeoutError:
        raise RequestRefused(408, f"the request did not arrive within {timeout_s:g} s", code="timeout") from None
    try:
        return schema.model_validate_json(bytes(raw))
    except ValidationError as error:
        raise _invalid(error) from None


def _invalid(error: ValidationError) -> RequestRefused:
    """The first of the errors, with the value that was found where it tells anything."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if where and first["type"] != "value_error" and isinstance(first["input"], str | int | float):
        what += f", found {json.dumps(first['input'])[:_SHOWN_CHARS]}"
    return RequestRefused(400, f"{where}: {what}" if where else what, code="invalid_request", param=where or None)
