"""Our language engine on a CPU beside transformers' generate: one reply, replies together and in turn, a call's turns.

A middle-sized random model in float32 on one thread; the ratios carry over, the milliseconds do not. Times are of the
processor, of all threads of this process, so that other programs disturb them little.

    python -m benchmarks.engines.llm_cpu [--quick]
"""

import argparse
import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import Ministral3Config, Ministral3ForCausalLM

from benchmarks import report
from llm.config import MinistralConfig
from llm.interface import Message
from llm.ministral.chat_format import ChatFormat
from llm.ministral.engine import MinistralLanguageModel
from llm.runtime.loop.step_loop import StepLoop

STREAMS = (1, 2, 4, 8)
SPECIALS = 100
MIDDLE = {"hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 8, "num_attention_heads": 16,
          "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 32_768}  # fmt: skip
TINY = MIDDLE | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 4096}
INSTRUCTIONS = "You are the voice of a small hotel by the sea. Answer in one or two short sentences. " * 30


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """The most frequent words of Mistral's vocabulary, with the special tokens of its chat models."""
    content = json.loads((files("mistral_common") / "data" / "tekken_240911.json").read_text())
    names = (
        "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] "
        "[TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] "
        "[TOOL_CONTENT] [ARGS] [CALL_ID]"
    ).split()
    words = vocabulary - SPECIALS
    config = {"num_vocab_tokens": words, "default_vocab_size": vocabulary, "default_num_special_tokens": SPECIALS}
    specials = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)]
    tekken = {
        "config": content["config"] | config | {"version": "v13"},
        "vocab": content["vocab"][:words],
        "special_tokens": specials,
    }
    (folder / "tekken.json").write_text(json.dumps(tekken))


def random_model(sizes: dict[str, int], chat: ChatFormat) -> Ministral3ForCausalLM:
    """It writes plain text only, so that every token is a piece, and never ends by itself."""
    torch.manual_seed(0)
    rope = {
        "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16_384,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
    }  # fmt: skip
    config = Ministral3Config.from_dict({**sizes, "rope_parameters": rope, "tie_word_embeddings": False})
    model = Ministral3ForCausalLM(config).eval()
    with torch.no_grad():
        pieces = [chat.bytes_of(token) for token in range(chat.vocabulary)]
        model.lm_head.weight[[token for token, piece in enumerate(pieces) if not piece or not piece.isascii()]] = 0.0
    return model


def question(number: int) -> list[Message]:
    return [Message("user", f"{number}. Which rooms look out on the sea, and what do they cost in {2000 + number}?")]


def generate(model: Ministral3ForCausalLM, prompt: Sequence[int], tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    out = model.generate(  # pyright: ignore[reportAttributeAccessIssue]  (a mixin that its stub leaves out)
        ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None, pad_token_id=11,
        max_new_tokens=tokens, min_new_tokens=tokens,
    )  # fmt: skip
    return out[0, len(prompt) :].tolist()


async def read(engine: MinistralLanguageModel, messages: Sequence[Message]) -> str:
    async with engine.reply(messages) as reply:
        return "".join([getattr(piece, "text", "") async for piece in reply])


async def together(engine: MinistralLanguageModel, numbers: Sequence[int]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in numbers:
            tasks.create_task(read(engine, question(number)))


async def in_turn(engine: MinistralLanguageModel, numbers: Sequence[int]) -> None:
    for number in numbers:
        await read(engine, question(number))


async def rate(engine: MinistralLanguageModel, work: Callable[[], Awaitable[object]]) -> float:
    """Tokens a second."""
    tokens, started_s = engine.counters.tokens, time.process_time()
    await work()
    return (engine.counters.tokens - tokens) / (time.process_time() - started_s)


async def first_piece_ms(engine: MinistralLanguageModel, messages: Sequence[Message]) -> float:
    started_s = time.process_time()
    async with engine.reply(messages) as reply:
        await anext(reply)
        return (time.process_time() - started_s) * 1000


async def turns(engine: MinistralLanguageModel, repeats: int) -> dict[str, float]:
    """Milliseconds to the first piece of a call's first turn, of its second, and of another call's first."""
    times: dict[str, list[float]] = {"first turn": [], "next turn": [], "other call, same instructions": []}
    for number in range(repeats):
        start = [Message("system", f"{number}. {INSTRUCTIONS}"), *question(1)]
        times["first turn"].append(await first_piece_ms(engine, start))
        answer = Message("assistant", await read(engine, start))
        times["next turn"].append(await first_piece_ms(engine, [*start, answer, *question(2)]))
        times["other call, same instructions"].append(await first_piece_ms(engine, [start[0], *question(3)]))
    return {name: report.percentile(values, 50) for name, values in times.items()}


async def measure(
    model: Ministral3ForCausalLM, chat: ChatFormat, folder: Path, *, tokens: int, repeats: int
) -> dict[str, Any]:
    config = MinistralConfig(
        checkpoint=folder, device="cpu", dtype="float32", temperature=0.0, slots=max(STREAMS), reply_tokens=tokens,
        context_tokens=2048, cache_tokens=16_384,
    )  # fmt: skip
    async with StepLoop("cpu") as loop, MinistralLanguageModel(config, loop) as engine:
        theirs_text = b"".join(map(chat.bytes_of, generate(model, chat.prompt(question(0)), tokens)))
        agree = await read(engine, question(0)) == theirs_text.decode(errors="ignore")
        numbers = iter(range(1, 10_000))  # a question asked twice would find its beginning in the cache
        theirs, ours = list[float](), {name: list[float]() for name in (*map(str, STREAMS), "in turn")}
        for _ in range(repeats):  # side by side, so that a change of the machine's speed meets all
            started_s = time.process_time()
            generate(model, chat.prompt(question(next(numbers))), tokens)
            theirs.append(tokens / (time.process_time() - started_s))
            for count in STREAMS:
                asked = [next(numbers) for _ in range(count)]
                ours[str(count)].append(await rate(engine, lambda asked=asked: together(engine, asked)))
            asked = [next(numbers) for _ in range(max(STREAMS))]
            ours["in turn"].append(await rate(engine, lambda asked=asked: in_turn(engine, asked)))
        return {
            "same_text": agree,
            "generate_tokens_per_s": report.percentile(theirs, 50),
            "ours_tokens_per_s": {name: report.percentile(values, 50) for name, values in ours.items()},
            "first_piece_ms": await turns(engine, repeats),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model and few repeats: seconds, no figures")
    is_quick: bool = parser.parse_args().quick
    torch.set_num_threads(1)
    logging.getLogger("llm").setLevel(logging.ERROR)  # every reply is cut
    sizes, tokens, repeats = (TINY, 8, 1) if is_quick else (MIDDLE, 64, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(folder, sizes["vocab_size"])
        chat = ChatFormat.load(folder)
        model = random_model(sizes, chat)
        model.save_pretrained(folder)
        figures = asyncio.run(measure(model, chat, folder, tokens=tokens, repeats=repeats))
    theirs, ours = figures["generate_tokens_per_s"], figures["ours_tokens_per_s"]
    print(f"\nReplies of {tokens} tokens; the same text as transformers: {'yes' if figures['same_text'] else 'NO'}\n")
    rows = [("transformers generate, 1 stream", f"{theirs:.1f}", "1.0x")]
    rows += [(f"ours, {name} streams" if name != "in turn" else f"ours, {max(STREAMS)} in turn",
              f"{value:.1f}", f"{value / theirs:.1f}x") for name, value in ours.items()]  # fmt: skip
    print(report.table(("", "tokens/s", "to generate"), rows))
    print(f"\n{max(STREAMS)} together against in turn: {ours[str(max(STREAMS))] / ours['in turn']:.1f}x")
    print("\nTo the first piece, with instructions of about 600 tokens\n")
    print(report.table(("", "ms"), [(name, f"{ms:.0f}") for name, ms in figures["first_piece_ms"].items()]))
    record = {"threads": 1, "torch": torch.__version__, "model": sizes, "reply_tokens": tokens, **figures}
    print(f"\nwritten: {report.write('llm_cpu', record, is_quick=is_quick)}")


if __name__ == "__main__":
    main()
