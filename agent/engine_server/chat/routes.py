"""`/v1/chat/completions`, streamed or whole, with tools. A client that closes the connection cancels its reply."""

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from agent.engine_server.chat.request import ChatRequest
from agent.engine_server.chat.stop_strings import StoppedReply
from agent.engine_server.errors import engine_errors, error_object, refusal_of
from agent.engine_server.metrics import EngineMetrics
from agent.engine_server.models import Model
from agent.settings.engine_server import EngineServerConfig
from llm.interface import Ending, LanguageModel, LanguageModelError, Reply, TextDelta, ToolCall
from webrtc.http.bodies import read_json
from webrtc.http.streaming import StreamedResponse

PATH = "/v1/chat/completions"

_DONE = b"data: [DONE]\n\n"


class ChatRoutes:
    """The route of the language model."""

    def __init__(
        self, language_model: LanguageModel, model: Model, config: EngineServerConfig, metrics: EngineMetrics
    ) -> None:
        self._language_model = language_model
        self._model = model
        self._config = config
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [web.post(PATH, self._complete)]

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        asked = await read_json(
            request, ChatRequest, max_bytes=self._config.max_body_bytes, timeout_s=self._config.body_timeout_s
        )
        self._model.check(asked.model)
        asked.check()
        completion = _Completion(self._model.id, counts_later=asked.wants_usage)
        started_s = time.perf_counter()
        with engine_errors():
            async with self._reply(asked) as reply:
                if not asked.stream:
                    pieces = [piece async for piece in reply]
                    return web.json_response(completion.assemble(pieces, reply.ending))
                first = await anext(reply, None)  # until then an error still has a status
                self._metrics.observe_first_output(PATH, time.perf_counter() - started_s)
                return await self._stream(request, asked, completion, first, reply)

    def _reply(self, asked: ChatRequest) -> Reply:
        reply = self._language_model.reply(asked.conversation(), asked.offered_tools(), asked.sampling())
        return StoppedReply(reply, asked.stops) if asked.stops else reply

    async def _stream(
        self,
        request: web.Request,
        asked: ChatRequest,
        completion: "_Completion",
        first: TextDelta | ToolCall | None,
        rest: Reply,
    ) -> web.StreamResponse:
        streamed = StreamedResponse(request, "text/event-stream", self._config.write_timeout_s)
        await streamed.send(_event(completion.chunk({"role": "assistant", "content": ""})))
        try:
            if first is not None:
                await streamed.send(_event(completion.piece(first)))
            async for piece in rest:
                await streamed.send(_event(completion.piece(piece)))
        except LanguageModelError as error:
            await streamed.send(_event({"error": error_object(refusal_of(error))}))
        else:
            await streamed.send(_event(completion.chunk({}, completion.finish_reason(rest.ending))))
            if asked.wants_usage:
                await streamed.send(_event(completion.usage(rest.ending)))
        await streamed.send(_DONE)
        return await streamed.end()


class _Completion:
    """One reply in the protocol's JSON.

    Args:
        model: its name.
        counts_later: whether a chunk about usage is to come, of which the others then say so.
    """

    def __init__(self, model: str, *, counts_later: bool) -> None:
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}
        self._no_usage_yet = {"usage": None} if counts_later else {}
        self._tool_calls = 0

    def finish_reason(self, ending: Ending) -> str:
        """Why the reply is over."""
        if ending.is_cut:
            return "length"
        return "tool_calls" if self._tool_calls else "stop"

    def assemble(self, pieces: Sequence[TextDelta | ToolCall], ending: Ending) -> dict[str, Any]:
        """All of it at once."""
        text = "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))
        calls = [self._call(piece) for piece in pieces if isinstance(piece, ToolCall)]
        message: dict[str, Any] = {"role": "assistant", "content": (text or None) if calls else text}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason(ending), "logprobs": None}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(ending)}

    def piece(self, piece: TextDelta | ToolCall) -> dict[str, Any]:
        """The chunk of one piece."""
        if isinstance(piece, TextDelta):
            return self.chunk({"content": piece.text})
        return self.chunk({"tool_calls": [self._call(piece)]})

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        """One chunk of a stream."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice], **self._no_usage_yet}

    def usage(self, ending: Ending) -> dict[str, Any]:
        """The chunk after the last, if it is wanted."""
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(ending)}

    def _call(self, call: ToolCall) -> dict[str, Any]:
        index, self._tool_calls = self._tool_calls, self._tool_calls + 1
        function = {"name": call.name, "arguments": call.arguments}
        return {"index": index, "id": call.id, "type": "function", "function": function}


def _usage(ending: Ending) -> dict[str, int | None]:
    """What the engine counted: null where it does not count, in the object that Mistral's client insists on."""
    prompt, reply = ending.prompt_tokens, ending.reply_tokens
    total = None if prompt is None or reply is None else prompt + reply
    return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": total}


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()
