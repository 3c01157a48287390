"""OpenAI's client tells our own engine how to draw a reply and how long it may be, and learns what was counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import AsyncOpenAI

from benchmarks.engines.llm_cpu import TINY, generate, random_model, write_tokenizer
from llm.config import ChatConfig, MinistralConfig
from llm.interface import Message
from llm.ministral.chat_format import ChatFormat
from llm.ministral.engine import MinistralLanguageModel
from llm.remote.chat_completions import ChatModel
from llm.runtime.loop.step_loop import StepLoop

LENGTH = 12
LIMIT = 40  # of the engine
HELLO: Any = [{"role": "user", "content": "Hello."}]
PROMPT = [Message("user", "Hello.")]
HOT = {"temperature": 2.0, "max_tokens": LENGTH}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes text without an end."""
    folder = tmp_path_factory.mktemp("ministral")
    write_tokenizer(folder, TINY["vocab_size"])
    random_model(TINY, ChatFormat.load(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chat(checkpoint: Path) -> ChatFormat:
    return ChatFormat.load(checkpoint)


@pytest.fixture
async def client(serve: Callable[..., Any], checkpoint: Path) -> AsyncIterator[AsyncOpenAI]:
    config = MinistralConfig(
        checkpoint=checkpoint,
        device="cpu",
        dtype="float32",
        slots=8,
        context_tokens=256,
        cache_tokens=4096,
        reply_tokens=LIMIT,
    )
    async with (
        StepLoop("cpu") as loop,
        MinistralLanguageModel(config, loop) as engine,
        serve(engine) as served,
        AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield client


async def ask(client: AsyncOpenAI, **wishes: Any) -> Any:
    return await client.chat.completions.create(model="llm-1", messages=HELLO, **wishes)


async def text(client: AsyncOpenAI, **wishes: Any) -> str:
    return (await ask(client, **wishes)).choices[0].message.content


async def test_a_seed_draws_the_same_again(client: AsyncOpenAI) -> None:
    first = await text(client, seed=7, **HOT)
    assert await text(client, seed=7, **HOT) == first
    assert await text(client, seed=8, **HOT) != first
    assert await text(client, **HOT) != await text(client, **HOT)


async def test_each_reply_of_a_batch_is_drawn_as_it_asked(client: AsyncOpenAI) -> None:
    wishes: list[dict[str, Any]] = [
        {"seed": 1, **HOT},
        {"seed": 2, **HOT},
        {"temperature": 0.0, "max_tokens": LENGTH},
        {"seed": 1, "temperature": 1.0, "top_p": 0.5, "max_tokens": LENGTH},
    ]
    alone = [await text(client, **wish) for wish in wishes]
    async with asyncio.TaskGroup() as tasks:
        together = [tasks.create_task(text(client, **wish)) for wish in wishes]
    assert [task.result() for task in together] == alone
    assert len(set(alone)) == len(alone)


async def test_temperature_zero_takes_the_likeliest(client: AsyncOpenAI, chat: ChatFormat) -> None:
    torch.manual_seed(0)
    likeliest = generate(random_model(TINY, chat), chat.prompt(PROMPT), LENGTH)
    expected = b"".join(map(chat.bytes_of, likeliest)).decode()
    assert await text(client, temperature=0, max_tokens=LENGTH) == expected
    assert await text(client, temperature=2, top_p=1e-6, max_tokens=LENGTH) == expected


async def test_the_length_that_was_asked_for(client: AsyncOpenAI, chat: ChatFormat) -> None:
    for wish in ({"max_tokens": 1}, {"max_completion_tokens": LENGTH}):
        reply = await ask(client, temperature=0, **wish)
        (tokens,) = wish.values()
        assert reply.choices[0].finish_reason == "length"
        assert reply.usage.completion_tokens == tokens
        written = generate(random_model(TINY, chat), chat.prompt(PROMPT), tokens)
        assert reply.choices[0].message.content == b"".join(map(chat.bytes_of, written)).decode()


async def test_no_longer_than_the_engine_allows(client: AsyncOpenAI, caplog: pytest.LogCaptureFixture) -> None:
    reply = await ask(client, max_tokens=10_000)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == LIMIT
    assert f"cut after {LIMIT} tokens" in caplog.text


async def test_usage_is_what_the_tokenizer_counts(client: AsyncOpenAI, chat: ChatFormat) -> None:
    usage = (await ask(client, **HOT)).usage
    assert usage.prompt_tokens == len(chat.prompt(PROMPT))
    assert usage.completion_tokens == LENGTH
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


async def test_usage_ends_a_stream_that_asks_for_it(client: AsyncOpenAI, chat: ChatFormat) -> None:
    stream = await ask(client, stream=True, stream_options={"include_usage": True}, **HOT)
    *others, last = [chunk async for chunk in stream]
    assert [chunk.usage for chunk in others] == [None] * len(others)
    assert others[-1].choices[0].finish_reason == "length"
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(chat.prompt(PROMPT)), LENGTH)


async def test_another_parley_passes_it_on(client: AsyncOpenAI, serve: Callable[..., Any]) -> None:
    direct = await ask(client, seed=7, **HOT)
    async with (
        ChatModel(ChatConfig(base_url=str(client.base_url), model="llm-1")) as remote,
        serve(remote) as served,
        AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as far_client,
    ):
        far = await ask(far_client, seed=7, **HOT)
    assert far.choices == direct.choices
    assert far.usage == direct.usage


async def test_a_stop_string_frees_the_slot(client: AsyncOpenAI) -> None:
    whole = await text(client, temperature=0)
    stop = whole[10:14]
    reply = await ask(client, temperature=0, stop=stop)
    assert reply.choices[0].message.content == whole[: whole.index(stop)]
    assert reply.choices[0].finish_reason == "stop"
    assert 0 < reply.usage.completion_tokens <= LIMIT
