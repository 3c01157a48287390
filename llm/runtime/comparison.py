"""How far a computed tensor is from a reference's: what the verifications of the models yield."""

from dataclasses import dataclass

import torch
from torch import Tensor

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


def compare(name: str, found: Tensor, expected: Tensor | None, tolerance: float) -> Comparison:
    """Compare one tensor; integers must be equal, and a missing expectation or a NaN is infinitely wrong."""
    allowed = tolerance if found.is_floating_point() else EXACT
    if expected is None or found.shape != expected.shape:
        return Comparison(name, float("inf"), allowed)
    error = (found.to(torch.float64) - expected.to(torch.float64)).abs().amax() if found.numel() else torch.zeros(())
    return Comparison(name, error.nan_to_num(nan=float("inf")).item(), allowed)
