"""From the cases of a golden set to comparisons: how far what a model computes is from a reference's numbers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]  # its path is an open generic
from torch import Tensor

from llm.runtime.weights.checkpoint import CheckpointIncomplete

EXACT = 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One tensor beside the reference's."""

    name: str
    error: float  # largest absolute difference; infinite if the shapes differ or a number is missing
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the difference is allowed."""
        return self.error <= self.tolerance


def load_cases(
    cases: Path, device: torch.device, wanted: Callable[[Iterable[str]], Iterable[str]]
) -> dict[str, Tensor]:
    """The tensors of a golden set.

    Args:
        cases: the .safetensors file.
        device: where they are to be.
        wanted: the names that the set must hold, given those that it does.

    Raises:
        CheckpointIncomplete: the file cannot be read, or lacks some.
    """
    try:
        tensors = load_file(cases, device=str(device))
    except (OSError, SafetensorError) as error:
        raise CheckpointIncomplete(f"the golden set {cases} cannot be read ({error}); name its .safetensors") from None
    if missing := sorted(set(wanted(tensors)) - tensors.keys()):
        raise CheckpointIncomplete(f"the golden set {cases} lacks {', '.join(missing)}; get it again")
    return tensors


def compare_all(
    found: Iterable[tuple[str, Tensor]],
    expected: Mapping[str, Tensor],
    tolerance_of: Callable[[str], float],
    inputs: Iterable[str],
) -> Iterator[Comparison]:
    """One comparison for every tensor found, and a miss for every one that is expected, no input, and not found."""
    unused = expected.keys() - set(inputs)
    for name, tensor in found:
        unused.discard(name)
        yield compare(name, tensor, expected.get(name), tolerance_of(name))
    for name in sorted(unused):
        yield Comparison(name, float("inf"), EXACT)


def compare(name: str, found: Tensor, expected: Tensor | None, tolerance: float) -> Comparison:
    """Compare one tensor; integers must be equal, and a missing expectation or a NaN is infinitely wrong."""
    allowed = tolerance if found.is_floating_point() else EXACT
    if expected is None or found.shape != expected.shape:
        return Comparison(name, float("inf"), allowed)
    error = (found.to(torch.float64) - expected.to(torch.float64)).abs().amax() if found.numel() else torch.zeros(())
    return Comparison(name, error.nan_to_num(nan=float("inf")).item(), allowed)
