"""Language models for tests: a chat completions server in this process, and a tiny checkpoint that knows the demo.

The server misbehaves as it is told. The checkpoint is random but for its head, which is solved for so that each hidden
state of the conversations it knows gives the next token.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from aiohttp import web
from transformers import Ministral3Config, Ministral3ForCausalLM

from llm.config import DemoConfig
from llm.demo.model import DemoModel
from llm.interface import Message, TextDelta, Tool, ToolCall
from llm.ministral.chat_format import ChatFormat

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ChatServer:
    """Answers by `script`, one request after the other, then as the demo model would."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gone = asyncio.Event()  # a client left before the end of its answer
        self.models_asked = asyncio.Semaphore(0)  # released at each request
        self.models_page: str | None = None  # in place of the list
        self.models_status = 200
        self.url = ""

    async def models(self, request: web.Request) -> web.Response:
        self.models_asked.release()
        if self.models_page is not None:
            return web.Response(text=self.models_page)
        if self.models_status != 200:
            return web.json_response({}, status=self.models_status)
        return web.json_response({"object": "list", "data": [{"id": "demo", "object": "model"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Authorization"))
        self.bodies.append(await request.json())
        answer = self.script.pop(0) if self.script else self.think
        try:
            return await answer(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.gone.set()
            raise

    async def think(self, request: web.Request) -> web.StreamResponse:
        body = self.bodies[-1]
        messages = [message_of(wire) for wire in body["messages"]]
        tools = [Tool(tool["function"]["name"], "", {}) for tool in body.get("tools", ())]
        chunks = []
        async with DemoModel(DemoConfig()).reply(messages, tools) as reply:
            async for piece in reply:
                if isinstance(piece, TextDelta):
                    chunks.append(chunk({"content": piece.text}))
                else:
                    function = {"name": piece.name, "arguments": piece.arguments}
                    call = {"index": 0, "id": "abcdefgh1", "type": "function", "function": function}
                    chunks.append(chunk({"tool_calls": [call]}))
        return await stream(request, [*map(data, chunks), data(chunk({}, "stop")), "data: [DONE]\n\n"])

    def says(self, *lines: str) -> None:
        """Answer the next request with these lines of an event stream."""
        self.script.append(lambda request: stream(request, lines))

    def fails(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        """Answer the next request with an error."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.json_response(body or {}, status=status, headers=headers)

        self.script.append(answer)


def message_of(wire: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in wire.get("tool_calls") or ()
    )
    return Message(wire["role"], wire.get("content") or "", calls, wire.get("tool_call_id"))


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "demo", "choices": [choice]}


def data(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


async def stream(request: web.Request, lines: Any) -> web.StreamResponse:
    """Lines as an event stream; None in place of a line keeps the client waiting, "" breaks the connection."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for line in lines:
        if line is None:
            await asyncio.Event().wait()
        elif not line:
            assert request.transport
            request.transport.abort()
            break
        else:
            await response.write(line.encode())
    return response


@pytest.fixture
async def chat_server() -> AsyncIterator[ChatServer]:
    server = ChatServer()
    app = web.Application()
    app.add_routes([web.get("/v1/models", server.models), web.post("/v1/chat/completions", server.chat)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


WORDS = 4000  # of Mistral's vocabulary, the most frequent ones
SPECIALS = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT] "
    "[ARGS] [CALL_ID] [THINK] [/THINK]"
).split()
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 256,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
CLOCK = Tool("current_time", "The time.", {"type": "object", "properties": {}})
ASKS_FOR_THE_TIME = Message("user", "What time is it?")
CALLS_THE_CLOCK = Message("assistant", "", (ToolCall("call00000", "current_time", "{}"),))
CLOCK_SAYS = json.dumps({"time": "2026-01-02T15:04:00+00:00", "timezone": "UTC"})
KNOWN: tuple[tuple[tuple[Message, ...], tuple[Tool, ...]], ...] = (
    ((Message("user", "Tell me a story."),), ()),
    ((Message("user", "Count to twenty."),), ()),
    ((Message("user", "What is twelve times seven?"),), ()),
    ((ASKS_FOR_THE_TIME,), (CLOCK,)),
    ((ASKS_FOR_THE_TIME, CALLS_THE_CLOCK, Message("tool", CLOCK_SAYS, tool_call_id="call00000")), ()),
)


@pytest.fixture(scope="session")
def tekken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of Mistral's chat models with few words."""
    content = json.loads((files("mistral_common") / "data" / "tekken_240911.json").read_text())
    specials = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(SPECIALS)]
    sizes = {
        "num_vocab_tokens": WORDS,
        "default_vocab_size": WORDS + len(SPECIALS),
        "default_num_special_tokens": len(SPECIALS),
    }
    config = content["config"] | sizes | {"version": "v13"}
    file = tmp_path_factory.mktemp("tekken") / "tekken.json"
    file.write_text(json.dumps({"config": config, "vocab": content["vocab"][:WORDS], "special_tokens": specials}))
    return file


async def answer_of_the_demo(messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> Message:
    async with DemoModel(DemoConfig()).reply(messages, tools) as reply:
        pieces = [piece async for piece in reply]
    text = "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))
    return Message("assistant", text, tuple(piece for piece in pieces if isinstance(piece, ToolCall)))


@pytest.fixture(scope="session")
def ministral_by_heart(tekken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of transformers' Ministral 3 that gives the demo model's answers to KNOWN."""
    folder = tmp_path_factory.mktemp("ministral")
    (folder / "tekken.json").write_text(tekken.read_text())
    chat = ChatFormat.load(folder)
    torch.manual_seed(0)
    config = Ministral3Config(
        hidden_size=512,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        vocab_size=chat.vocabulary,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        rope_parameters=YARN,
    )
    model = Ministral3ForCausalLM(config).eval()
    states, following = list[torch.Tensor](), list[int]()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.06).add_(1.0 if "norm" in name else 0.0)
        for messages, tools in KNOWN:
            asked = chat.prompt(messages, tools)
            answer = asyncio.run(answer_of_the_demo(messages, tools))
            ids = chat.prompt([*messages, answer], tools)[:-2]  # without the empty question at the end
            states.append(model.model(torch.tensor([ids])).last_hidden_state[0, len(asked) - 1 : -1])
            following += ids[len(asked) :]
        hidden = torch.cat(states).double()  # [N, D], N < D
        wanted = torch.nn.functional.one_hot(torch.tensor(following), chat.vocabulary).double()
        head = hidden.T @ torch.linalg.solve(hidden @ hidden.T + 1e-6 * torch.eye(len(hidden)), wanted)
        model.lm_head.weight.copy_(10 * head.T)
    model.save_pretrained(folder)
    return folder
