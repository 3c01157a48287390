"""Which slots the rows of a batch are: written on the host, read on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pinned(values: Tensor, device: torch.device) -> Tensor:
    """Values on the host from which a copy to that device need not be waited for."""
    return values.pin_memory() if device.type == "cuda" else values


class SlotList:
    """Slot numbers on the device, padded with the idle slot, set without a synchronisation.

    Attributes:
        index: [B] int64.
    """

    def __init__(self, size: int, idle: int, device: torch.device) -> None:
        self._idle = idle
        self._host = pinned(torch.full((size,), idle, dtype=torch.int64), device)
        self.index = self._host.to(device, copy=True)

    def set(self, slots: Sequence[int]) -> None:
        """Name the slot of each row; -1 and missing rows are idle. What was set before must have been read."""
        padding = len(self._host) - len(slots)
        numbers = [slot if slot >= 0 else self._idle for slot in slots] + [self._idle] * padding
        self._host.copy_(torch.tensor(numbers))
        self.index.copy_(self._host, non_blocking=True)
