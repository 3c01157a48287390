"""The least time that a step can take: what it reads and what it computes, side by side, at the speed of a GPU."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Roofline:
    """What a GPU reaches in practice."""

    bytes_per_s: float
    flop_per_s: float

    def seconds(self, read_bytes: float, flop: float) -> float:
        """The longer of reading so many bytes and computing so many operations."""
        return max(read_bytes / self.bytes_per_s, flop / self.flop_per_s)


H200 = Roofline(bytes_per_s=4.3e12, flop_per_s=790e12)


def weights(module: nn.Module) -> int:
    """How many it has."""
    return sum(parameter.numel() for parameter in module.parameters())
