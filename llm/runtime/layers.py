"""The pre-norm transformer layer that every Mistral network here is built of, and its rotary embedding.

Queries, keys and values come from one matrix and so do gate and up: two reads of the input in place of five. How
positions see each other is not known here; the layer is given an `Attend`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.runtime.architecture import DecoderConfig, Yarn
from llm.runtime.weights.loading import Recipe

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries [..., H, hd], keys and values [..., KV, hd] -> mixed values [..., H, hd]."""


FEW_ROWS = range(8, 49)  # of a batch, and how long the matrix's rows must be, for the product from the right to pay
LONG_ROW = 1024


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Sizes of one layer. The attention width, n_heads * head_dim, need not equal dim."""

    dim: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_dim: int
    norm_eps: float

    @classmethod
    def of(cls, config: DecoderConfig) -> "LayerShape":
        """The shape of each layer of that decoder."""
        return cls(config.dim, config.n_heads, config.n_kv_heads, config.head_dim, config.hidden_dim, config.norm_eps)

    @property
    def query_width(self) -> int:
        """Width of all query heads side by side."""
        return self.n_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads side by side, and of all value heads."""
        return self.n_kv_heads * self.head_dim


def multiply(x: Tensor, matrix: Tensor) -> Tensor:
    """x @ matrix.T, [..., out] for [..., in] and [out, in].

    On a CPU in float32 a few rows go to the right of a matrix with long rows: MKL is quicker so.
    """
    if _is_faster_from_the_right(x, matrix):
        return (matrix @ x.t()).t().contiguous()
    return functional.linear(x, matrix)


def _is_faster_from_the_right(x: Tensor, matrix: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.dim() == 2
        and len(x) in FEW_ROWS
        and x.shape[1] >= LONG_ROW
        and type(matrix) in (Tensor, nn.Parameter)  # a quantized one multiplies in its own way
        and matrix.is_contiguous()
    )


class Matrix(nn.Linear):
    """A matrix without bias, as everywhere in these models."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., out] of [..., in]."""
        return multiply(input, self.weight)


def linear(inputs: int, outputs: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Linear:
    """A matrix of that size, uninitialized."""
    return Matrix(inputs, outputs, bias=False, device=device, dtype=dtype)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis, reduced in float32."""

    def __init__(
        self, dim: int, eps: float, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(
        self, dim: int, hidden_dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.w13 = linear(dim, 2 * hidden_dim, device, dtype)
        self.w2 = linear(hidden_dim, dim, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        gate, up = self.w13(x).chunk(2, dim=-1)
        return self.w2(functional.silu(gate) * up)


class TransformerLayer(nn.Module):
    """x + wo(attend(norm(x))), then x + ffn(norm(x) * scale)."""

    def __init__(
        self, shape: LayerShape, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm = RMSNorm(shape.dim, shape.norm_eps, device, dtype)
        self.wqkv = linear(shape.dim, shape.query_width + 2 * shape.kv_width, device, dtype)
        self.wo = linear(shape.query_width, shape.dim, device, dtype)
        self.ffn_norm = RMSNorm(shape.dim, shape.norm_eps, device, dtype)
        self.feed_forward = FeedForward(shape.dim, shape.hidden_dim, device, dtype)

    def forward(self, x: Tensor, attend: Attend, ffn_scale: Tensor | None = None) -> Tensor:
        """One layer.

        Args:
            x: [..., D].
            attend: mixes the positions.
            ffn_scale: factor on the normed FFN input, broadcast to [..., D]; None is 1.
        """
        shape = self.shape
        mixed = self.wqkv(self.attention_norm(x)).unflatten(-1, (-1, shape.head_dim))  # [..., H + 2 KV, hd]
        q, k, v = mixed.split([shape.n_heads, shape.n_kv_heads, shape.n_kv_heads], dim=-2)
        x = x + self.wo(attend(q, k, v).flatten(-2))
        normed = self.ffn_norm(x)
        return x + self.feed_forward(normed if ffn_scale is None else normed * ffn_scale)

    @staticmethod
    def recipes(shape: LayerShape, prefix: str) -> dict[str, Recipe]:
        """Where this layer's parameters come from: nine tensors whose names start with `prefix`."""
        d, f = shape.dim, shape.hidden_dim
        return {
            "attention_norm.weight": Recipe.of(f"{prefix}attention_norm.weight", d),
            "wqkv.weight": Recipe.stack(
                (f"{prefix}attention.wq.weight", (shape.query_width, d)),
                (f"{prefix}attention.wk.weight", (shape.kv_width, d)),
                (f"{prefix}attention.wv.weight", (shape.kv_width, d)),
            ),
            "wo.weight": Recipe.of(f"{prefix}attention.wo.weight", d, shape.query_width),
            "ffn_norm.weight": Recipe.of(f"{prefix}ffn_norm.weight", d),
            "feed_forward.w13.weight": Recipe.stack(
                (f"{prefix}feed_forward.w1.weight", (f, d)), (f"{prefix}feed_forward.w3.weight", (f, d))
            ),
            "feed_forward.w2.weight": Recipe.of(f"{prefix}feed_forward.w2.weight", d, f),
        }


def rotary_frequencies(head_dim: int, theta: float, yarn: Yarn | None = None) -> Tensor:
    """Radians per position of each rotated pair, [head_dim / 2] float64: theta^(-2i / head_dim), or YaRN's blend."""
    index = torch.arange(head_dim // 2, dtype=torch.float64)
    frequencies = theta ** (-2.0 * index / head_dim)
    if yarn is None:
        return frequencies

    def index_of_turns(turns: float) -> float:
        return head_dim * math.log(yarn.original_positions / (2 * math.pi * turns)) / (2 * math.log(theta))

    low = min(max(math.floor(index_of_turns(yarn.beta_fast)), 0), head_dim - 1)
    high = min(max(math.ceil(index_of_turns(yarn.beta_slow)), 0), head_dim - 1)
    ramp = ((index - low) / max(high - low, 1e-3)).clamp(0.0, 1.0)
    return frequencies * (1 - ramp) + frequencies / yarn.factor * ramp


def rotation(positions: Tensor, frequencies: Tensor) -> Tensor:
    """Rotation of every pair as a complex number of length 1, [..., hd / 2] complex64, for integer positions [...].

    The angle is taken in float64: at position 1e6 a float32 angle is off by 0.06 rad.
    """
    angles = positions.to(torch.float64).unsqueeze(-1) * frequencies
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Rotate the interleaved pairs (0, 1), (2, 3), ... of x [..., H, hd] by rotary [..., hd / 2], in float32."""
    pairs = torch.view_as_complex(x.to(torch.float32).reshape(*x.shape[:-1], -1, 2))  # [..., H, hd / 2]
    return torch.view_as_real(pairs * rotary.unsqueeze(-2)).flatten(-2).to(x.dtype)
