"""Loading: both layouts give the same model, and every flaw of a checkpoint is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from asr.voxtral.architecture import VoxtralArchitecture
from asr.voxtral.model import CONSOLIDATED_ENCODER, VoxtralRealtime
from asr.voxtral.timing import steps_of
from llm.runtime.weights.checkpoint import CheckpointIncomplete, TensorMismatch

CPU = torch.device("cpu")


def load(folder: Path) -> VoxtralRealtime:
    return VoxtralRealtime.load(folder, device=CPU, dtype=torch.float32)


@pytest.fixture
def consolidated(reference: Any, tmp_path: Path) -> Path:
    return reference.save(tmp_path / "consolidated", "consolidated")


def test_layouts_give_the_same_model(model: VoxtralRealtime, consolidated: Path) -> None:
    other = load(consolidated)
    assert other.config == model.config
    for (name, one), (_, two) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0, msg=name)


def test_the_released_hugging_face_names_are_known(model: VoxtralRealtime, checkpoint: Path, tmp_path: Path) -> None:
    """A file saved by transformers may or may not have the outer `model.`; the released one has none."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    tensors = load_file(folder / "model.safetensors")
    has_outer = any(name.startswith("model.") for name in tensors)

    def other(name: str) -> str:
        if has_outer:
            return name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
        return "model." + name.replace("language_model.model.", "language_model.", 1)

    save_file({other(name): tensor for name, tensor in tensors.items()}, folder / "model.safetensors")

    for one, two in zip(model.parameters(), load(folder).parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_the_released_model_has_711_tensors(consolidated: Path) -> None:
    """The names of a model with the released depth; the sizes do not matter."""
    params = json.loads((consolidated / "params.json").read_text())
    params["n_layers"] = 26
    params["multimodal"]["whisper_model_args"]["encoder_args"]["n_layers"] = 32
    config = VoxtralArchitecture.from_params(params)
    model = VoxtralRealtime(config, None, torch.device("meta"), torch.float32)
    parts = [part.name for recipe in model._consolidated_recipes().values() for part in recipe.parts]
    assert len(parts) == len(set(parts)) == 711
    assert f"{CONSOLIDATED_ENCODER.layers}31.feed_forward.w2.bias" in parts


def test_missing_left_over_and_misshapen_tensors_are_named_together(consolidated: Path) -> None:
    file = consolidated / "consolidated.safetensors"
    tensors = load_file(file)
    del tensors["layers.0.ada_rms_norm_t_cond.0.weight"]
    tensors["layers.0.surprise.weight"] = torch.zeros(1)
    tensors["norm.weight"] = torch.zeros(3)
    save_file(tensors, file)
    with pytest.raises(TensorMismatch) as caught:
        load(consolidated)
    for part in ("1 missing: layers.0.ada_rms_norm_t_cond.0.weight", "layers.0.surprise.weight", "norm.weight [3]"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda p: p.pop("multimodal"), "multimodal"),
        (lambda p: p.update(ada_rms_norm_t_cond=False), "takes no delay"),
        (lambda p: p.update(sliding_window=12), "sliding window of 31"),
        (lambda p: p["multimodal"]["whisper_model_args"]["encoder_args"].update(causal=False), "causal"),
        (lambda p: p["multimodal"]["whisper_model_args"]["downsample_args"].update(downsample_factor=2), "downsample"),
    ],
)
def test_another_kind_of_model_is_refused(consolidated: Path, change: Any, complaint: str) -> None:
    file = consolidated / "params.json"
    params = json.loads(file.read_text())
    change(params)
    file.write_text(json.dumps(params))
    with pytest.raises(CheckpointIncomplete, match=complaint):
        load(consolidated)


def test_a_tokenizer_of_another_model_is_refused(consolidated: Path) -> None:
    file = consolidated / "tekken.json"
    content = json.loads(file.read_text())
    content["special_tokens"][32]["token_str"] = "[ARGS]"
    file.write_text(json.dumps(content))
    with pytest.raises(CheckpointIncomplete, match="STREAMING_PAD"):
        load(consolidated)
    content["config"]["default_vocab_size"] = 200
    file.write_text(json.dumps(content))
    with pytest.raises(TensorMismatch, match="200 tokens"):
        load(consolidated)


def test_delays_are_whole_steps() -> None:
    assert [steps_of(delay) for delay in (80, 480, 2400)] == [1, 6, 30]
    for delay in (0, -80, 100, 2480):
        with pytest.raises(ValueError, match="multiple of 80"):
            steps_of(delay)
