"""Cases made from transformers, as a user would make them, run through `verify`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from asr.voxtral.cases import OUTPUTS, verify
from asr.voxtral.timing import EXTRA_PAD, LEFT_PAD, START, STEP_SAMPLES
from llm.runtime.weights.checkpoint import CheckpointIncomplete

Speech = Callable[[int, int], NDArray[np.float32]]
CPU = torch.device("cpu")


def case(reference: Any, samples: NDArray[np.float32], delay: int) -> dict[str, Tensor]:
    """A turn as the reference hears it when it feeds itself."""
    silences = (LEFT_PAD * STEP_SAMPLES, (delay + 1 + EXTRA_PAD) * STEP_SAMPLES)
    left, right = (torch.zeros(size) for size in silences)
    mel = reference.mel(torch.cat((left, torch.from_numpy(samples), right)))
    ids = torch.tensor([1] + [32] * (LEFT_PAD + delay))
    while len(ids) < len(mel) // 8:
        latest = reference.forward(mel[: len(ids) * 8], ids, delay)["logits"][-1].argmax()
        ids = torch.cat((ids, latest[None]))
    found = reference.forward(mel, ids, delay)
    tokens = torch.cat((ids[1:], found["logits"][-1:].argmax(1)))
    return {
        "samples": torch.from_numpy(samples),
        "delay": torch.tensor(delay),
        "mel": found["mel"].unflatten(0, (-1, 8))[START:].contiguous(),
        "encoded": found["encoded"].unflatten(0, (-1, 4))[START:].contiguous(),
        "audio": found["audio"][START:].contiguous(),
        "logits": found["logits"][START:].contiguous(),
        "tokens": tokens[START:].contiguous(),
    }


@pytest.fixture(scope="module")
def cases(reference: Any, speech: Speech, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cases") / "cases.safetensors"
    turns = {"short": case(reference, speech(3, 1), 6), "early": case(reference, speech(8, 2), 1)}
    save_file({f"{turn}.{name}": tensor for turn, parts in turns.items() for name, tensor in parts.items()}, file)
    return file


def test_every_expected_tensor_is_compared_and_right(checkpoint: Path, cases: Path) -> None:
    found = {comparison.name: comparison for comparison in verify(checkpoint, cases, CPU)}
    assert set(found) == {f"{turn}.{part}" for turn in ("short", "early") for part in OUTPUTS}
    assert all(comparison.ok for comparison in found.values()), found


def test_a_wrong_number_is_found(checkpoint: Path, cases: Path, tmp_path: Path) -> None:
    tensors = load_file(cases)
    tensors["short.audio"][4, 3] += 1e-3
    tensors["early.tokens"][-1] += 1
    tensors["early.mel"] = tensors["early.mel"][:-1]
    tensors["short.logits"][0, 0] = torch.nan
    save_file(tensors, tmp_path / "wrong.safetensors")
    wrong = {one.name: one.error for one in verify(checkpoint, tmp_path / "wrong.safetensors", CPU) if not one.ok}
    assert set(wrong) == {"short.audio", "early.tokens", "early.mel", "short.logits"}
    assert wrong["short.audio"] == pytest.approx(1e-3, rel=0.1)


def test_cases_that_cannot_be_used_are_named(checkpoint: Path, cases: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete, match="cannot be read"):
        list(verify(checkpoint, tmp_path / "none.safetensors", CPU))
    tensors = load_file(cases)
    del tensors["short.delay"]
    save_file(tensors, tmp_path / "short.safetensors")
    with pytest.raises(CheckpointIncomplete, match=r"lacks short\.delay"):
        list(verify(checkpoint, tmp_path / "short.safetensors", CPU))
