"""Checkpoints: layouts and shards are read alike, and everything wrong with one is named."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import llm.runtime.weights.loading
from llm.runtime.weights.checkpoint import (
    Checkpoint,
    CheckpointIncomplete,
    NotEnoughMemory,
    TensorMismatch,
    interleave,
    read_json,
)
from llm.runtime.weights.loading import Recipe, load_parameters

HEAD_DIM = 4
CPU = torch.device("cpu")


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fused = nn.Linear(3, 6, bias=False, device="meta")
        self.square = nn.Linear(2, 2, bias=False, device="meta")

    @staticmethod
    def recipes() -> dict[str, Recipe]:
        return {
            "fused.weight": Recipe.stack(("a", (2, 3)), ("b", (4, 3))),
            "square.weight": Recipe(Recipe.of("c", 2, 2).parts, lambda parts: parts[0] ** 2),
        }


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (2, 3), "b": (4, 3), "c": (2, 2)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def load(folder: Path, dtype: torch.dtype = torch.float32, ignored: tuple[str, ...] = ()) -> Pair:
    pair = Pair()
    with Checkpoint(folder, HEAD_DIM) as checkpoint:
        load_parameters(pair, pair.recipes(), checkpoint, device=CPU, dtype=dtype, ignored=ignored)
    return pair


def write(folder: Path, content: Mapping[str, Tensor], name: str = "consolidated.safetensors") -> None:
    save_file(dict(content), folder / name)


def test_parts_are_stacked_combined_and_converted(tmp_path: Path) -> None:
    content = tensors()
    write(tmp_path, content)
    pair = load(tmp_path, torch.bfloat16)
    torch.testing.assert_close(pair.fused.weight, torch.cat((content["a"], content["b"])).bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(pair.square.weight, (content["c"] ** 2).bfloat16(), rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in pair.parameters())


@pytest.mark.parametrize("indexed", [True, False])
def test_shards_equal_one_file(tmp_path: Path, indexed: bool) -> None:
    content = tensors()
    names = ("consolidated-00001-of-00002.safetensors", "consolidated-00002-of-00002.safetensors")
    write(tmp_path, {"a": content["a"]}, names[0])
    write(tmp_path, {"b": content["b"], "c": content["c"]}, names[1])
    if indexed:
        index = {"weight_map": {"a": names[0], "b": names[1], "c": names[1]}}
        (tmp_path / "consolidated.safetensors.index.json").write_text(json.dumps(index))
    torch.testing.assert_close(load(tmp_path).fused.weight, torch.cat((content["a"], content["b"])), rtol=0, atol=0)

    (tmp_path / names[1]).unlink()
    with pytest.raises(CheckpointIncomplete, match="resume the download"):
        load(tmp_path)


def test_missing_surplus_and_misshapen_are_named_together(tmp_path: Path) -> None:
    content = tensors()
    write(
        tmp_path,
        {"b": content["b"][:3].clone(), "c": content["c"], "d": content["a"], "encoder.x": content["a"].clone()},
    )
    with pytest.raises(TensorMismatch) as caught:
        load(tmp_path, ignored=("encoder.",))
    message = str(caught.value)
    assert "1 missing: a" in message
    assert "1 not of this model: d" in message
    assert "1 misshapen: b [3, 3], wanted [4, 3]" in message


def test_folder_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete, match="no checkpoint folder"):
        Checkpoint(tmp_path / "none", HEAD_DIM)
    with pytest.raises(CheckpointIncomplete, match=r"no consolidated\.safetensors"):
        Checkpoint(tmp_path, HEAD_DIM)
    (tmp_path / "consolidated.safetensors").write_bytes(b"\x20\0\0\0\0\0\0\0half a header")
    with pytest.raises(CheckpointIncomplete, match="cannot be read"):
        Checkpoint(tmp_path, HEAD_DIM)
    with pytest.raises(CheckpointIncomplete, match=r"has no params\.json"):
        read_json(tmp_path, "params.json")
    for content in ("{", "[]"):
        (tmp_path / "params.json").write_text(content)
        with pytest.raises(CheckpointIncomplete, match=r"params\.json"):
            read_json(tmp_path, "params.json")


def test_too_little_memory_says_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, tensors())
    monkeypatch.setattr(llm.runtime.weights.loading, "free_memory", lambda device: 80)
    with pytest.raises(NotEnoughMemory, match=r"need 0\.0 GB on cpu, 0\.0 GB are free"):
        load(tmp_path)
    load(tmp_path, torch.bfloat16)  # 44 bytes


def test_hugging_face_names_and_rotary_halves(tmp_path: Path) -> None:
    q = torch.arange(16.0).reshape(8, 2)  # 2 heads of 4 rows
    content = {
        "model.language_model.embed_tokens.weight": torch.zeros(3, 2),
        "model.language_model.layers.1.self_attn.q_proj.weight": q,
        "model.language_model.layers.1.self_attn.v_proj.weight": q.clone(),
        "model.language_model.layers.1.mlp.gate_proj.weight": torch.ones(5, 2),
        "model.language_model.layers.1.input_layernorm.weight": torch.ones(2),
        "model.language_model.norm.weight": torch.ones(2),
        "model.vision_tower.patch_conv.weight": torch.ones(2),
        "lm_head.weight": torch.ones(3, 2),
    }
    write(tmp_path, content, "model.safetensors")
    with Checkpoint(tmp_path, HEAD_DIM) as checkpoint:
        assert set(checkpoint) == {
            "tok_embeddings.weight",
            "layers.1.attention.wq.weight",
            "layers.1.attention.wv.weight",
            "layers.1.feed_forward.w1.weight",
            "layers.1.attention_norm.weight",
            "norm.weight",
            "model.vision_tower.patch_conv.weight",
            "output.weight",
        }
        rows = checkpoint.read("layers.1.attention.wq.weight")[:, 0] / 2
        assert rows.tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
        torch.testing.assert_close(checkpoint.read("layers.1.attention.wv.weight"), q, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("file", "weight", "scale"),
    [
        ("consolidated.safetensors", "layers.0.attention.wk.weight", "layers.0.attention.wk.qscale_weight"),
        (
            "model.safetensors",
            "language_model.model.layers.0.self_attn.k_proj.weight",
            "language_model.model.layers.0.self_attn.k_proj.weight_scale_inv",
        ),
    ],
)
def test_fp8_weights_are_widened_with_their_scale(tmp_path: Path, file: str, weight: str, scale: str) -> None:
    stored = torch.randn(8, 3).to(torch.float8_e4m3fn)
    write(tmp_path, {weight: stored, scale: torch.tensor(0.5)}, file)
    with Checkpoint(tmp_path, HEAD_DIM) as checkpoint:
        assert list(checkpoint) == ["layers.0.attention.wk.weight"]
        expected = stored.float() * 0.5
        if file.startswith("model"):
            expected = interleave(expected, HEAD_DIM)
        torch.testing.assert_close(checkpoint.read("layers.0.attention.wk.weight"), expected, rtol=0, atol=0)

    write(tmp_path, {weight: stored}, file)
    with Checkpoint(tmp_path, HEAD_DIM) as checkpoint, pytest.raises(TensorMismatch, match="without a scale"):
        checkpoint.read("layers.0.attention.wk.weight")


def test_memory_that_torch_keeps_at_hand_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, found in (("mem_get_info", (100, 1000)), ("memory_reserved", 50), ("memory_allocated", 20)):
        monkeypatch.setattr(torch.cuda, name, lambda device, found=found: found)
    assert llm.runtime.weights.loading.free_memory(torch.device("cuda:0")) == 130
