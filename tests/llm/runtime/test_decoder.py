"""The decoder against transformers' Mistral classes, and its two passes and three readings against each other."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import (
    Ministral3Config,
    Ministral3ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    VoxtralRealtimeTextConfig,
)
from transformers.models.voxtral_realtime.modeling_voxtral_realtime import VoxtralRealtimeTextModel

from llm.runtime.architecture import DecoderConfig
from llm.runtime.attention import Segment
from llm.runtime.backend import AttentionBackend, StepTokens
from llm.runtime.cache import PagedCache
from llm.runtime.decoder import Decoder, _pays_to_pad
from llm.runtime.weights.checkpoint import Checkpoint, read_json
from llm.runtime.weights.loading import load_parameters

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 101,
    "rms_norm_eps": 1e-5,
    "attn_implementation": "eager",
}


YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}


PLAIN = {"rope_type": "default", "rope_theta": 1e6}


REFERENCES: dict[str, Callable[[], PreTrainedModel]] = {
    "plain": lambda: MistralForCausalLM(
        MistralConfig(**SIZES, rope_parameters=PLAIN, sliding_window=None, tie_word_embeddings=True)
    ),
    "window": lambda: MistralForCausalLM(MistralConfig(**SIZES, rope_parameters=PLAIN, sliding_window=7)),
    "ministral": lambda: Ministral3ForCausalLM(
        Ministral3Config(**SIZES, rope_parameters=YARN, max_position_embeddings=64, tie_word_embeddings=False)
    ),
    "ministral tied": lambda: Ministral3ForCausalLM(
        Ministral3Config(**SIZES, rope_parameters=YARN, max_position_embeddings=64, tie_word_embeddings=True)
    ),
}


@pytest.fixture(params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(len(request.param))
    model = REFERENCES[request.param]().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3).add_(1.0 if "norm" in name else 0.0)
    return model


def load(folder: Path) -> Decoder:
    config = DecoderConfig.from_hugging_face(read_json(folder, "config.json"))
    decoder = Decoder(config, device="meta")
    with Checkpoint(folder, config.head_dim) as checkpoint:
        ignored = ["output.weight"] if config.head == "tied" else []
        load_parameters(
            decoder,
            decoder.recipes(),
            checkpoint,
            device=torch.device("cpu"),
            dtype=torch.float32,
            ignored=ignored,
        )
    return decoder


def cache_for(decoder: Decoder, rows: int, max_tokens: int) -> PagedCache:
    return PagedCache(decoder.config, rows=rows, pages=rows * 16, max_tokens=max_tokens, page_tokens=4)


def left_by_a_failed_stream(cache: PagedCache) -> None:
    cache.keys.fill_(torch.nan)
    cache.values.fill_(torch.nan)


@torch.inference_mode()
def test_logits_equal_transformers(reference: PreTrainedModel, tmp_path: Path) -> None:
    reference.save_pretrained(tmp_path)
    decoder = load(tmp_path)
    ids = torch.randint(101, (1, 40))
    expected = reference(ids).logits[0]

    cache = cache_for(decoder, 1, 40)
    cache.open(0)
    cache.grow(0, 40)
    hidden = decoder.prefill(decoder.embed(ids[0]), [Segment(0, 0, 40)], cache)

    torch.testing.assert_close(decoder.logits(hidden), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_condition_and_window_equal_transformers(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(1)
    reference = VoxtralRealtimeTextModel(VoxtralRealtimeTextConfig(**SIZES, sliding_window=9)).eval()
    for parameter in reference.parameters():
        parameter.normal_(std=0.3)
    tensors = {f"language_model.model.{name}": value for name, value in reference.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(reference.config.to_json_string())
    decoder = load(tmp_path)
    x, condition = torch.randn(30, 48), torch.randn(1, 48)
    expected = reference(inputs_embeds=x[None], t_cond=condition[None]).last_hidden_state[0]

    cache = cache_for(decoder, 1, 30)
    cache.open(0)
    cache.grow(0, 30)
    scale = decoder.ffn_scales(condition).expand(30, -1, -1)
    hidden = decoder.prefill(x, [Segment(0, 0, 30)], cache, scale)

    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_consolidated_layout_equals_hugging_face(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = REFERENCES["ministral"]()
    model.save_pretrained(tmp_path / "hf")
    (tmp_path / "consolidated").mkdir()
    with Checkpoint(tmp_path / "hf", 16) as checkpoint:
        save_file(
            {name: checkpoint.read(name).contiguous() for name in checkpoint},
            tmp_path / "consolidated" / "consolidated.safetensors",
        )
    (tmp_path / "consolidated" / "config.json").write_text((tmp_path / "hf" / "config.json").read_text())

    both = [load(tmp_path / layout) for layout in ("hf", "consolidated")]

    for one, other in zip(both[0].parameters(), both[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def alone(decoder: Decoder, x: Tensor) -> Tensor:
    cache = cache_for(decoder, 1, len(x))
    cache.open(0)
    cache.grow(0, len(x))
    return decoder.prefill(x, [Segment(0, 0, len(x))], cache)


def randomized(config: DecoderConfig) -> Decoder:
    torch.manual_seed(3)
    decoder = Decoder(config, device="cpu")
    for name, parameter in decoder.named_parameters():
        parameter.normal_(std=0.2).add_(1.0 if "norm" in name else 0.0)
    return decoder


TINY = DecoderConfig(
    dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=64, vocab_size=50, rope_theta=1e4, head="none"
)


WINDOWED = DecoderConfig(
    dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=64, vocab_size=50, rope_theta=1e4, window=6,
    ada_norm_dim=5,
)  # fmt: skip


@pytest.mark.parametrize("backend", ["segments", "gathered"])
@pytest.mark.parametrize("config", [TINY, WINDOWED], ids=["whole", "window"])
def test_ragged_steps_with_joins_and_leaves_equal_alone(config: DecoderConfig, backend: AttentionBackend) -> None:
    decoder = randomized(config)
    streams = [torch.randn(length, 32) for length in (21, 13, 30)]
    joins = (0, 4, 9)
    scale = decoder.ffn_scales(torch.randn(3, 32)) if config.ada_norm_dim else None
    expected: list[Tensor] = []
    for index, x in enumerate(streams):
        cache = cache_for(decoder, 1, len(x))
        cache.open(0)
        cache.grow(0, len(x))
        factors = None if scale is None else scale[index].expand(len(x), -1, -1)
        expected.append(decoder.prefill(x, [Segment(0, 0, len(x))], cache, factors))

    cache = PagedCache(config, rows=3, pages=40, max_tokens=32 if config.window is None else 1, page_tokens=4)
    left_by_a_failed_stream(cache)
    found: list[list[Tensor]] = [[], [], []]
    for tick in range(45):
        rows = [row for row in range(3) if 0 <= tick - joins[row] < len(streams[row])]
        for row in range(3):
            if tick - joins[row] == 0:
                cache.open(row)
            if tick - joins[row] == len(streams[row]):
                cache.close(row)
        for row in rows:
            cache.grow(row, tick - joins[row] + 1)
        padded = [*rows, cache.rows]
        positions = [*(tick - joins[row] for row in rows), 0]
        x = torch.stack([*(streams[row][tick - joins[row]] for row in rows), torch.zeros(32)])
        factors = None if scale is None else scale[[*rows, 0]]
        hidden = decoder.step(
            x, StepTokens(torch.tensor(padded), torch.tensor(positions), cache, backend), ffn_scale=factors
        )
        for row, state in zip(rows, hidden, strict=False):
            found[row].append(state)

    for whole, steps in zip(expected, found, strict=True):
        torch.testing.assert_close(torch.stack(steps), whole, atol=1e-5, rtol=1e-4)
    assert cache.free_pages == 40


@pytest.mark.parametrize(
    ("config", "padded"), [(TINY, False), (TINY, True), (WINDOWED, False)], ids=["whole", "padded", "window"]
)
def test_prefill_in_packed_pieces_equals_whole(
    config: DecoderConfig, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.runtime.decoder._pays_to_pad", lambda parts, cache: padded and len(parts) > 1)
    decoder = randomized(config)
    one, two = torch.randn(19, 32), torch.randn(11, 32)
    cache = cache_for(decoder, 2, 19)
    left_by_a_failed_stream(cache)
    for row, x in enumerate((one, two)):
        cache.open(row)
        cache.grow(row, len(x))

    both = [Segment(0, 0, 7), Segment(1, 0, 10)]
    first = decoder.prefill(torch.cat((one[:7], two[:10])), both, cache)
    both = [Segment(1, 10, 1), Segment(0, 7, 12)]
    second = decoder.prefill(torch.cat((two[10:], one[7:])), both, cache)

    torch.testing.assert_close(torch.cat((first[:7], second[1:])), alone(decoder, one), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.cat((first[7:], second[:1])), alone(decoder, two), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("parts", "pays"),
    [
        (((0, 30), (10, 40), (5, 35)), True),
        (((0, 30),), False),  # there is nothing to join
        (((0, 300), (0, 1), (0, 1)), False),
        (((9000, 10), (0, 10), (0, 10)), False),  # the cache before them would be padded
    ],
)
def test_only_prompts_that_are_alike_are_padded(parts: tuple[tuple[int, int], ...], pays: bool) -> None:
    segments = [Segment(row, start, tokens) for row, (start, tokens) in enumerate(parts)]
    on_gpu = SimpleNamespace(window=None, tables=SimpleNamespace(device=torch.device("cuda")))
    assert _pays_to_pad(segments, on_gpu) == pays  # pyright: ignore[reportArgumentType]
    assert not _pays_to_pad(segments, cache_for(randomized(TINY), 1, 8))


def test_rows_that_share_a_prefix_equal_rows_that_do_not() -> None:
    decoder = randomized(TINY)
    prefix, endings = torch.randn(10, 32), [torch.randn(5, 32), torch.randn(7, 32)]
    cache = cache_for(decoder, 3, 20)
    cache.open(0)
    cache.grow(0, 10)
    decoder.prefill(prefix, [Segment(0, 0, 10)], cache)
    shared = cache.remember(0, 10)
    cache.close(0)
    parts: list[Segment] = []
    for row, ending in enumerate(endings, start=1):
        start = cache.open(row, shared)
        cache.grow(row, start + len(ending))
        parts.append(Segment(row, start, len(ending)))

    hidden = decoder.prefill(torch.cat(endings), parts, cache)

    for ending, found in zip(endings, hidden.split([5, 7]), strict=True):
        torch.testing.assert_close(found, alone(decoder, torch.cat((prefix, ending)))[10:], atol=1e-5, rtol=1e-4)
