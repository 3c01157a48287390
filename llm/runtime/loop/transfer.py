"""What goes between host and device at each step: which slots the rows of a batch are, and what comes of them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pin(values: Tensor, device: torch.device) -> Tensor:
    """Values on the host from which a copy to that device need not be waited for."""
    return values.pin_memory() if device.type == "cuda" else values


def on_host(values: Tensor) -> Tensor:
    """Where values of a device arrive on the host; themselves on a CPU."""
    return values if values.device.type == "cpu" else pin(torch.empty_like(values, device="cpu"), values.device)


class SlotList:
    """Slot numbers on the device, padded with the idle slot, set without a synchronization.

    Attributes:
        index: [B] int64.
    """

    def __init__(self, size: int, idle: int, device: torch.device) -> None:
        self._idle = idle
        self._host = pin(torch.full((size,), idle, dtype=torch.int64), device)
        self.index = self._host.to(device, copy=True)

    def set(self, slots: Sequence[int]) -> None:
        """Name the slot of each row; -1 and missing rows are idle. What was set before must have been read."""
        padding = len(self._host) - len(slots)
        numbers = [slot if slot >= 0 else self._idle for slot in slots] + [self._idle] * padding
        self._host.copy_(torch.tensor(numbers))
        self.index.copy_(self._host, non_blocking=True)
