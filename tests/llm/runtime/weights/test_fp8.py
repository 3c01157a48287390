"""FP8 checkpoints: multiplied as they are or widened, in both layouts, with and without scales for the inputs."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import Ministral3Config, Ministral3ForCausalLM

from llm.ministral.model import Ministral
from llm.runtime.architecture import DecoderConfig
from llm.runtime.attention import Segment
from llm.runtime.cache import PagedCache
from llm.runtime.decoder import Decoder
from llm.runtime.weights.checkpoint import FP8, Checkpoint, TensorMismatch
from llm.runtime.weights.fp8 import LARGEST, FP8Linear, can_multiply, keep_fp8
from llm.runtime.weights.loading import Part

CPU = torch.device("cpu")
HEAD_DIM = 16


@pytest.fixture(params=["static", "dynamic"])
def fp8_checkpoint(request: pytest.FixtureRequest, tekken: Path, tmp_path: Path) -> Path:
    """A tiny Ministral in Hugging Face's layout, its layers' matrices in FP8 as in the released files."""
    config = Ministral3Config(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=HEAD_DIM, vocab_size=4024, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(2)
    model = Ministral3ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.2).add_(1.0 if "norm" in name else 0.0)
    model.save_pretrained(tmp_path)
    shutil.copy(tekken, tmp_path)
    stored: dict[str, Tensor] = {}
    for name, weight in load_file(tmp_path / "model.safetensors").items():
        if "_proj." in name:
            scale = weight.abs().max() / LARGEST
            stored[name] = (weight / scale).to(FP8)
            stored[name.replace(".weight", ".weight_scale_inv")] = scale
            if request.param == "static":
                stored[name.replace(".weight", ".activation_scale")] = torch.tensor(0.02)
        else:
            stored[name] = weight
    save_file(stored, tmp_path / "model.safetensors")
    return tmp_path


@torch.inference_mode()
def logits_of(model: Ministral, ids: list[int]) -> Tensor:
    cache = PagedCache(model.config, rows=1, pages=8, max_tokens=64, page_tokens=8, dtype=model.dtype)
    cache.open(0)
    cache.grow(0, len(ids))
    decoder = model.decoder
    return decoder.logits(decoder.prefill(decoder.embed(torch.tensor(ids)), [Segment(0, 0, len(ids))], cache))


def rounded(x: Tensor, scale: float | None) -> Tensor:
    """The FP8 numbers next to x, widened again."""
    factor = x.abs().amax(dim=-1, keepdim=True) / LARGEST if scale is None else scale
    return (x / factor).clamp(-LARGEST, LARGEST).to(FP8).float() * factor


def test_kept_in_fp8_means_the_same_as_widened_with_rounded_inputs(fp8_checkpoint: Path) -> None:
    with Checkpoint(fp8_checkpoint, HEAD_DIM) as checkpoint:
        found = checkpoint.activation_scale("layers.0.attention.wq.weight")
    scale = None if found is None else float(found)
    kept, widened = (
        Ministral.load(fp8_checkpoint, device=CPU, dtype=torch.float32, keeps_fp8=keeps) for keeps in (True, False)
    )
    matrices = [module for module in kept.modules() if isinstance(module, FP8Linear)]
    assert len(matrices) == 2 * 4
    assert {matrix.weight.dtype for matrix in matrices} == {FP8}
    assert not any(isinstance(module, FP8Linear) for module in widened.modules())
    for linear in widened.decoder.layers.modules():
        if isinstance(linear, nn.Linear):
            linear.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0], scale),))
    ids = list(range(100, 130))
    one, other = logits_of(kept, ids), logits_of(widened, ids)
    # a rounding error in float32 may move an input to the next FP8 number
    assert functional.cosine_similarity(one, other, dim=1).min() > 0.999


def test_the_layouts_load_alike(fp8_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "consolidated"
    folder.mkdir()
    tensors: dict[str, Tensor] = {}
    with Checkpoint(fp8_checkpoint, HEAD_DIM) as checkpoint:
        for name in checkpoint:
            tensors[name] = checkpoint.read_stored(name).contiguous()
            if checkpoint.is_fp8(name):
                tensors[name.replace(".weight", ".qscale_weight")] = checkpoint.weight_scale(name).clone()
                if (scale := checkpoint.activation_scale(name)) is not None:
                    tensors[name.replace(".weight", ".qscale_act")] = scale.clone()
    save_file(tensors, folder / "consolidated.safetensors")
    shutil.copy(fp8_checkpoint / "tekken.json", folder)
    config = json.loads((fp8_checkpoint / "config.json").read_text())
    rope = config["rope_parameters"]
    original = rope["original_max_position_embeddings"]
    params = {
        "dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": HEAD_DIM, "hidden_dim": 96,
        "vocab_size": 4024, "norm_eps": config["rms_norm_eps"], "rope_theta": rope["rope_theta"],
        "yarn": {"factor": rope["factor"], "original_max_position_embeddings": original, "beta": rope["beta_fast"],
                 "alpha": rope["beta_slow"]},
        "llama_4_scaling": {"beta": rope["llama_4_scaling_beta"], "original_max_position_embeddings": original},
    }  # fmt: skip
    (folder / "params.json").write_text(json.dumps(params))
    ids = list(range(200, 220))
    one, other = (
        logits_of(Ministral.load(place, device=CPU, dtype=torch.float32, keeps_fp8=True), ids)
        for place in (fp8_checkpoint, folder)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_each_row_has_the_scale_of_its_tensor_and_the_input_the_largest(tmp_path: Path) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(16, 32).to(FP8), torch.randn(48, 32).to(FP8)
    scales = {"a.qscale_weight": 0.5, "b.qscale_weight": 2.0, "a.qscale_act": 0.01, "b.qscale_act": 0.02}
    tensors = {"a.weight": a, "b.weight": b} | {name: torch.tensor([scale]) for name, scale in scales.items()}
    save_file(tensors, tmp_path / "consolidated.safetensors")
    with Checkpoint(tmp_path, HEAD_DIM) as checkpoint:
        linear = FP8Linear.of([Part("a.weight", (16, 32)), Part("b.weight", (48, 32))], checkpoint)
    linear.weight = torch.nn.Parameter(torch.cat((a, b)), requires_grad=False)
    x = torch.randn(2, 3, 32)
    x[0, 0, 0] = 1e6  # saturates
    expected = rounded(x, 0.02) @ torch.cat((a.float() * 0.5, b.float() * 2.0)).T
    torch.testing.assert_close(linear(x), expected, rtol=1e-4, atol=1e-4)


def test_the_head_and_sizes_that_no_device_multiplies_are_widened(tmp_path: Path) -> None:
    config = DecoderConfig(
        dim=64, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=HEAD_DIM, hidden_dim=40, vocab_size=96, rope_theta=1e6,
        head="untied",
    )  # fmt: skip
    decoder = Decoder(config, "meta", torch.bfloat16)
    tensors: dict[str, Tensor] = {}
    for part in [part for recipe in decoder.recipes().values() for part in recipe.parts]:
        tensors[part.name] = torch.ones(part.shape).to(FP8)
        tensors[part.name.replace(".weight", ".qscale_weight")] = torch.ones(())
    save_file(tensors, tmp_path / "consolidated.safetensors")
    with Checkpoint(tmp_path, HEAD_DIM) as checkpoint:
        keep_fp8(decoder, checkpoint)
    kept = {name for name, module in decoder.named_modules() if isinstance(module, FP8Linear)}
    assert kept == {"layers.0.wqkv", "layers.0.wo", "layers.0.feed_forward.w13"}  # w2 has 40 inputs


@pytest.mark.parametrize("scale", [None, torch.tensor([[0.02]])])
def test_a_bfloat16_input_is_rounded_once(scale: Tensor | None) -> None:
    torch.manual_seed(0)
    linear = FP8Linear(32, torch.ones(1, 16), scale)
    linear.weight = torch.nn.Parameter(torch.randn(16, 32).to(FP8), requires_grad=False)
    x = torch.randn(5, 32).to(torch.bfloat16)
    torch.testing.assert_close(linear(x), linear(x.to(torch.float32)).to(torch.bfloat16), rtol=0, atol=0)


def test_several_scales_of_one_tensor_are_refused(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.ones(16, 16).to(FP8), "a.qscale_weight": torch.ones(4)}
    save_file(tensors, tmp_path / "consolidated.safetensors")
    with Checkpoint(tmp_path, HEAD_DIM) as checkpoint, pytest.raises(TensorMismatch, match="has 4 scales, one can"):
        checkpoint.read("a.weight")


def test_only_devices_that_can_multiply_fp8_do() -> None:
    assert not can_multiply(CPU, torch.bfloat16)


@pytest.mark.gpu
def test_a_gpu_multiplies_as_the_cpu_does() -> None:
    if not torch.cuda.is_available() or not can_multiply(torch.device("cuda"), torch.bfloat16):
        pytest.skip("no CUDA device that multiplies FP8")
    torch.manual_seed(0)
    linear = FP8Linear(64, torch.rand(1, 96) + 0.5, torch.tensor([[0.02]]))
    linear.weight = torch.nn.Parameter(torch.randn(96, 64).to(FP8), requires_grad=False)
    for rows in (1, 3, 64):
        x = torch.randn(rows, 64, dtype=torch.bfloat16)
        torch.testing.assert_close(linear.cuda()(x.cuda()).cpu(), linear.cpu()(x), rtol=2e-2, atol=2e-1)
