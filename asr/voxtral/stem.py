"""The causal convolutions before the encoder: two mel frames become one encoder frame, with the tails as state."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.runtime.weights.loading import Part, Recipe

KERNEL = 3
STRIDE = 2
MEL_TAIL = KERNEL - 1  # frames of the first convolution's input that the next call needs
INNER_TAIL = KERNEL - STRIDE  # frames of the second one's


class Tails(NamedTuple):
    """What a stream's next frames need of those before. Zeros at the start of a stream, unlike silent mel frames."""

    mel: Tensor  # [B, MEL_TAIL, mels]
    inner: Tensor  # [B, INNER_TAIL, D]


class Stem(nn.Module):
    """Convolution, GELU, convolution with stride 2, GELU; as matrix products over the windows."""

    def __init__(
        self, mels: int, dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.mels = mels
        self.dim = dim
        self.conv1 = nn.Linear(mels * KERNEL, dim, device=device, dtype=dtype)
        self.conv2 = nn.Linear(dim * KERNEL, dim, device=device, dtype=dtype)

    def forward(self, mel: Tensor, tails: Tails) -> tuple[Tensor, Tails]:
        """Encoder frames [B, T / 2, D] of mel frames [B, T, mels], T even, and the tails after them."""
        mel = torch.cat((tails.mel, mel), dim=1)
        inner = functional.gelu(self.conv1(mel.unfold(1, KERNEL, 1).flatten(2)))  # [B, T, D]
        inner = torch.cat((tails.inner, inner), dim=1)
        frames = functional.gelu(self.conv2(inner.unfold(1, KERNEL, STRIDE).flatten(2)))  # [B, T / 2, D]
        return frames, Tails(mel[:, -MEL_TAIL:], inner[:, -INNER_TAIL:])

    def recipes(self, name: Callable[[str], str]) -> dict[str, Recipe]:
        """Where the parameters come from; `name` gives the checkpoint's name of "conv1" and "conv2"."""

        def windows(parts: Sequence[Tensor]) -> Tensor:
            return parts[0].flatten(1)  # [D, inputs, KERNEL], in the order in which unfold lays out a window

        recipes: dict[str, Recipe] = {}
        for conv, inputs in (("conv1", self.mels), ("conv2", self.dim)):
            weight = Part(f"{name(conv)}.weight", (self.dim, inputs, KERNEL))
            recipes[f"{conv}.weight"] = Recipe((weight,), windows)
            recipes[f"{conv}.bias"] = Recipe.of(f"{name(conv)}.bias", self.dim)
        return recipes
