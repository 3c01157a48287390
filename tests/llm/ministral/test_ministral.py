"""Whole models against transformers' generate: every layout of a checkpoint, every way to the same tokens."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Ministral3Config, Ministral3ForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from llm.ministral.model import Ministral
from llm.ministral.slots import ReplySlots
from llm.ministral.token_step import FAILED, TokenBatch, generate
from llm.runtime.loop.captured_step import CapturedStep
from llm.runtime.loop.graphs import GraphPool
from llm.runtime.weights.checkpoint import Checkpoint, CheckpointError, CheckpointIncomplete, TensorMismatch

CPU = torch.device("cpu")
VOCABULARY = 4024  # of the tokenizer in conftest.py
SIZES = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-5,
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
REFERENCES: dict[str, Callable[[], PreTrainedModel]] = {
    "ministral": lambda: Ministral3ForCausalLM(
        Ministral3Config(**SIZES, rope_parameters=YARN, max_position_embeddings=64, tie_word_embeddings=False)
    ),
    "ministral tied": lambda: Ministral3ForCausalLM(
        Ministral3Config(**SIZES, rope_parameters=YARN, max_position_embeddings=64, tie_word_embeddings=True)
    ),
    "mistral": lambda: MistralForCausalLM(
        MistralConfig(**SIZES, rope_parameters={"rope_type": "default", "rope_theta": 1e6}, sliding_window=4096)
    ),
}
PROMPTS = [
    [1, 3, *range(100, 140), 4],
    [1, 3, *range(100, 120), 7, 8, 9, 4],
    [1, 17, 2000, 18, 3, 4],
]


def randomized(model: PreTrainedModel) -> PreTrainedModel:
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3).add_(1.0 if "norm" in name else 0.0)
    return model.eval()


def save(model: PreTrainedModel, tekken: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    shutil.copy(tekken, folder)
    return folder


def load(folder: Path) -> Ministral:
    return Ministral.load(folder, device=CPU, dtype=torch.float32)


def generated(model: Any, prompt: Sequence[int], tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens,
        eos_token_id=None, pad_token_id=11,
    )  # fmt: skip
    return out[0, len(prompt) :].tolist()


def slots_of(model: Ministral, count: int = 3) -> ReplySlots:
    return ReplySlots(model, count=count, cache_tokens=512, max_tokens=128, page_tokens=8)


def step_of(slots: ReplySlots) -> CapturedStep[TokenBatch]:
    return CapturedStep(TokenBatch(slots, slots.count), GraphPool(CPU))


def write(slots: ReplySlots, step: CapturedStep[TokenBatch], rows: Sequence[int], tokens: int) -> list[list[int]]:
    written: list[list[int]] = [[] for _ in rows]
    for _ in range(tokens):
        for row in rows:
            slots.reserve(row)
        for row, token, so_far in zip(rows, generate(step, rows), written, strict=True):
            slots.add(row, token)
            so_far.append(token)
    return written


@pytest.fixture(params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> PreTrainedModel:
    return randomized(REFERENCES[request.param]())


def test_tokens_equal_those_of_generate_alone_and_together(
    reference: PreTrainedModel, tekken: Path, tmp_path: Path
) -> None:
    slots = slots_of(load(save(reference, tekken, tmp_path)))
    for row, prompt in enumerate(PROMPTS):
        slots.open(row, prompt, seed=0)
    slots.prefill([(0, 10), (1, 3)])  # in pieces, packed with others
    slots.prefill([(0, slots.prompt_remaining(0)), (1, slots.prompt_remaining(1)), (2, slots.prompt_remaining(2))])

    written = write(slots, step_of(slots), [0, 1, 2], 30)

    assert written == [generated(reference, prompt, 30) for prompt in PROMPTS]


def test_a_turn_reads_only_what_is_new_and_writes_the_same(tekken: Path, tmp_path: Path) -> None:
    reference = randomized(REFERENCES["ministral"]())
    slots = slots_of(load(save(reference, tekken, tmp_path)))
    step = step_of(slots)
    assert slots.open(0, PROMPTS[0], seed=0) == 0
    slots.prefill([(0, slots.prompt_remaining(0))])
    (answer,) = write(slots, step, [0], 13)
    slots.free(0)

    turns = {
        "goes on": ([*PROMPTS[0], *answer, 2, 3, 77, 4], len(PROMPTS[0]) + 12),  # the newest token was never run
        "was cut": ([*PROMPTS[0], *answer[:5], 2, 3, 77, 4], len(PROMPTS[0]) + 5),
        "other call": ([*PROMPTS[1]], 22),
        "same again": (PROMPTS[0], len(PROMPTS[0]) - 1),
    }
    for prompt, known in turns.values():
        assert slots.open(1, prompt, seed=0) == known
        if slots.prompt_remaining(1):
            slots.prefill([(1, slots.prompt_remaining(1))])
        assert write(slots, step, [1], 10) == [generated(reference, prompt, 10)]
        slots.free(1)
    assert slots.free_pages == 64


def test_a_beginning_is_shared_while_it_is_still_in_use(tekken: Path, tmp_path: Path) -> None:
    reference = randomized(REFERENCES["ministral"]())
    slots = slots_of(load(save(reference, tekken, tmp_path)))
    step = step_of(slots)
    slots.open(0, PROMPTS[0], seed=0)
    slots.prefill([(0, slots.prompt_remaining(0))])
    write(slots, step, [0], 3)
    assert slots.open(1, PROMPTS[0], seed=0) == 40  # whole pages
    slots.prefill([(1, slots.prompt_remaining(1))])
    both = write(slots, step, [0, 1], 10)
    expected = generated(reference, PROMPTS[0], 13)
    assert both == [expected[3:], expected[:10]]


def test_sampling_depends_on_the_seed_alone(tekken: Path, tmp_path: Path) -> None:
    model = load(save(randomized(REFERENCES["ministral"]()), tekken, tmp_path))

    def sampled(rows: dict[int, int], asked: int, tokens: int = 80) -> list[int]:
        slots = slots_of(model)
        for row, seed in rows.items():
            slots.open(row, PROMPTS[2], seed, temperature=5.0, top_p=0.9)
            if slots.prompt_remaining(row):
                slots.prefill([(row, slots.prompt_remaining(row))])
        return write(slots, step_of(slots), list(rows), tokens)[list(rows).index(asked)]

    alone = sampled({0: 7}, 0)
    assert sampled({1: 8, 2: 7}, 2) == alone
    assert sampled({0: 9}, 0) != alone
    assert len(set(alone)) > 20


def test_a_row_that_is_not_a_number_fails_alone(tekken: Path, tmp_path: Path) -> None:
    model = load(save(randomized(REFERENCES["ministral"]()), tekken, tmp_path))
    slots = slots_of(model)
    for row in (0, 1):
        slots.open(row, PROMPTS[row], seed=0)
    slots.prefill([(row, slots.prompt_remaining(row)) for row in (0, 1)])
    page = int(slots.cache.tables[0, 0])
    slots.cache.values[:, page] = torch.nan
    tokens = generate(step_of(slots), [0, 1])
    assert tokens[0] == FAILED
    assert tokens[1] != FAILED


def consolidated(hugging_face: Path, folder: Path, described: dict[str, object]) -> Path:
    """The same checkpoint in the other layout."""
    folder.mkdir()
    with Checkpoint(hugging_face, 16) as checkpoint:
        tensors = {name: checkpoint.read(name).contiguous() for name in checkpoint}
    save_file(tensors | {"vision_encoder.ln_pre.weight": torch.ones(3)}, folder / "consolidated.safetensors")
    (folder / "params.json").write_text(json.dumps(described))
    shutil.copy(hugging_face / "tekken.json", folder)
    return folder


PARAMS = {
    "dim": 48,
    "n_layers": 3,
    "n_heads": 8,
    "n_kv_heads": 2,
    "head_dim": 16,
    "hidden_dim": 96,
    "vocab_size": VOCABULARY,
    "rope_theta": 10000.0,
    "norm_eps": 1e-5,
    "use_biases": False,
    "tied_embeddings": False,
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16, "beta": 4.0, "alpha": 1.0, "apply_scale": False},
    "llama_4_scaling": {"beta": 0.1, "original_max_position_embeddings": 16},
}


def test_both_layouts_load_alike(tekken: Path, tmp_path: Path) -> None:
    folder = save(randomized(REFERENCES["ministral"]()), tekken, tmp_path / "hf")
    other = load(consolidated(folder, tmp_path / "consolidated", PARAMS))
    for one, two in zip(load(folder).parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_the_wrapped_layout_with_pictures_loads(tekken: Path, tmp_path: Path) -> None:
    folder = save(randomized(REFERENCES["ministral tied"]()), tekken, tmp_path)
    plain = load(folder)
    tensors = {
        f"model.language_model.{k.removeprefix('model.')}": v
        for k, v in load_file(folder / "model.safetensors").items()
    }
    tensors["model.vision_tower.ln_pre.weight"] = torch.ones(3)
    tensors["model.multi_modal_projector.linear_1.weight"] = torch.ones(3)
    save_file(tensors, folder / "model.safetensors")
    text = json.loads((folder / "config.json").read_text())
    del text["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps({"text_config": text, "tie_word_embeddings": True}))
    for one, two in zip(plain.parameters(), load(folder).parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_a_window_that_matters_is_refused(tekken: Path, tmp_path: Path) -> None:
    model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=100))
    with pytest.raises(CheckpointError, match="set context_tokens to at most 100"):
        slots_of(load(save(model, tekken, tmp_path)))


def test_other_models_are_refused(tekken: Path, tmp_path: Path) -> None:
    folder = save(randomized(REFERENCES["ministral"]()), tekken, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 4000}))
    with pytest.raises(TensorMismatch, match=r"tekken\.json has 4024 tokens, the model 4000"):
        load(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(CheckpointIncomplete, match="does not describe a Mistral chat model"):
        load(folder)
