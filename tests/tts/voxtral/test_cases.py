"""Parity with the reference: the golden set through the shipped code, and that a wrong model is found out."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llm.runtime.verify import compare
from llm.runtime.weights.checkpoint import CheckpointIncomplete
from tts.voxtral.cases import INPUTS, STATE_TOLERANCE, WAVE_TOLERANCE, tolerance_of, verify

GOLDEN = Path(__file__).parents[2] / "data" / "voxtral-tts"
CASES = GOLDEN / "cases.safetensors"
CPU = torch.device("cpu")


def test_every_golden_tensor_is_within_its_tolerance() -> None:
    results = list(verify(GOLDEN, CASES, CPU))

    assert [result for result in results if not result.ok] == []
    outputs = {result.name for result in results if not result.name.startswith("prompts.")}
    assert outputs == load_file(CASES).keys() - INPUTS
    assert sum(result.name.startswith("prompts.") for result in results) >= 5


@pytest.mark.parametrize("name", ["fm.v_cond", "codec.wave", "e2e.codes"])
def test_a_wrong_number_is_a_miss(name: str, tmp_path: Path) -> None:
    tensors = load_file(CASES)
    tensors[name].view(-1)[3] += 1
    save_file(tensors, tmp_path / "cases.safetensors")
    (tmp_path / "prompts.json").write_text((GOLDEN / "prompts.json").read_text())

    results = verify(GOLDEN, tmp_path / "cases.safetensors", CPU)

    assert [result.name for result in results if not result.ok] == [name]


def test_an_expectation_that_nobody_computes_is_a_miss(tmp_path: Path) -> None:
    save_file(load_file(CASES) | {"fm.surprise": torch.zeros(3)}, tmp_path / "cases.safetensors")
    (tmp_path / "prompts.json").write_text((GOLDEN / "prompts.json").read_text())

    results = verify(GOLDEN, tmp_path / "cases.safetensors", CPU)

    assert [result.name for result in results if not result.ok] == ["fm.surprise"]


def test_shape_and_nan_are_infinitely_wrong() -> None:
    assert compare("lm.hidden", torch.zeros(2, 3), torch.zeros(3, 2), STATE_TOLERANCE).error == float("inf")
    assert compare("lm.hidden", torch.tensor([float("nan")]), torch.zeros(1), STATE_TOLERANCE).error == float("inf")
    assert compare("lm.hidden", torch.full((2,), 9e-5), torch.zeros(2), tolerance_of("lm.hidden")).ok
    assert not compare("codec.wave", torch.full((2,), 9e-5), torch.zeros(2), tolerance_of("codec.wave")).ok
    assert not compare("fm.codes", torch.tensor([4]), torch.tensor([5]), WAVE_TOLERANCE).ok


def test_a_missing_golden_set_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete, match="cannot be read"):
        list(verify(GOLDEN, tmp_path / "none.safetensors", CPU))
    save_file({"embed.codes": torch.zeros(1, 37, dtype=torch.int32)}, tmp_path / "cases.safetensors")
    (tmp_path / "prompts.json").write_text("[]")
    with pytest.raises(CheckpointIncomplete, match=r"lacks codec\.frames, "):
        list(verify(GOLDEN, tmp_path / "cases.safetensors", CPU))
