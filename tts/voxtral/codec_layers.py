"""The causal layers of the codec decoder, each with the tail of its past that makes streaming exact.

Every block maps (x [B, T, C], tails, frames [B]) to (y, new tails). A tail [B, P, W] is what the next call needs of
the past; `frames` counts the frames that each row has decoded so far, so that the first call pads as a whole decode
does. Tails of different streams stack along B: nothing here knows about slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.runtime.weights.loading import Part, Recipe


@dataclass(frozen=True)
class TailShape:
    """Past positions that a layer keeps, and values per position."""

    positions: int
    width: int


class CodecBlock(Protocol):
    """What the decoder asks of each of its blocks."""

    tail_shapes: Sequence[TailShape]

    def recipes(self, name: str, source: str) -> dict[str, Recipe]:
        """How to load each parameter: `name` prefixes the module's own names, `source` those of the checkpoint."""
        ...

    def __call__(self, x: Tensor, tails: Sequence[Tensor], frames: Tensor, /) -> tuple[Tensor, list[Tensor]]:
        """The next positions and the tails after them."""
        ...


def _weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape), requires_grad=False)


def _weight_norm(source: str, shape: tuple[int, int, int]) -> tuple[Part, Part]:
    stem = f"{source}conv.parametrizations.weight"
    return Part(f"{stem}.original0", (shape[0], 1, 1)), Part(f"{stem}.original1", shape)


def _fold(parts: Sequence[Tensor]) -> Tensor:
    """W = g * V / ||V||, the norm over all axes but the first (Salimans and Kingma 2016, equation 2)."""
    gain, direction = parts
    return gain * direction / direction.square().sum(dim=(1, 2), keepdim=True).sqrt()


def alibi_slopes(heads: int) -> Tensor:
    """Slope of each head, [H]: 2^(-8h/H) from h = 0 for a power of two, filled from the next power's otherwise."""
    power = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * h / power) for h in range(power)]
    slopes += [2.0 ** (-8 * h / (2 * power)) for h in range(0, 2 * (heads - power), 2)]
    return torch.tensor(slopes, device="cpu")


class CausalConv(nn.Module):
    """Stride-1 convolution that sees the present and `kernel - 1` past positions.

    Before the first frame the past is `replicate`: copies of the first position, or `reflect`: positions
    kernel - 1 .. 1 of the first call, which therefore must bring at least `kernel` positions.
    """

    def __init__(self, in_width: int, out_width: int, kernel: int, *, start: Literal["replicate", "reflect"]) -> None:
        super().__init__()
        self.shape = (out_width, in_width, kernel)
        self.start = start
        self.weight = _weight(out_width, in_width * kernel)
        self.tail_shapes: Sequence[TailShape] = [TailShape(kernel - 1, in_width)]

    def recipes(self, name: str, source: str) -> dict[str, Recipe]:
        """See CodecBlock."""
        return {f"{name}weight": Recipe(_weight_norm(source, self.shape), lambda parts: _fold(parts).flatten(1))}

    def forward(self, x: Tensor, tails: Sequence[Tensor], frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x [B, T, in] to [B, T, out]."""
        past = self.shape[2] - 1
        start = x[:, :1].expand(-1, past, -1) if self.start == "replicate" else x[:, 1 : past + 1].flip(1)
        tail = torch.where((frames == 0).view(-1, 1, 1), start, tails[0])  # [B, K-1, in]
        padded = torch.cat((tail, x), dim=1)  # [B, K-1+T, in]
        windows = padded.unfold(1, past + 1, 1)  # [B, T, in, K]
        return functional.linear(windows.flatten(2), self.weight), [padded[:, x.shape[1] :]]


class CausalTransposedConv(nn.Module):
    """Upsampling by `stride`; the positions that a full transposed convolution has past the end are cut.

    Output position stride * t + r sums W[:, :, r + stride * j]^T x[t - j] over the taps j: one matrix product.
    The past before the first frame is zero, as is a cleared tail.
    """

    def __init__(self, in_width: int, out_width: int, kernel: int, stride: int) -> None:
        super().__init__()
        if kernel % stride:
            raise ValueError(
                f"a transposed convolution needs a kernel that its stride divides, found {kernel}/{stride}"
            )
        self.shape = (in_width, out_width, kernel)
        self.stride = stride
        self.taps = kernel // stride
        self.weight = _weight(stride * out_width, self.taps * in_width)
        self.tail_shapes: Sequence[TailShape] = [TailShape(self.taps - 1, in_width)]

    def recipes(self, name: str, source: str) -> dict[str, Recipe]:
        """See CodecBlock."""
        return {f"{name}weight": Recipe(_weight_norm(source, self.shape), self._as_matrix)}

    def _as_matrix(self, parts: Sequence[Tensor]) -> Tensor:
        in_width, out_width, _ = self.shape
        kernel = _fold(parts).view(in_width, out_width, self.taps, self.stride)
        return kernel.permute(3, 1, 2, 0).reshape(self.stride * out_width, self.taps * in_width)

    def forward(self, x: Tensor, tails: Sequence[Tensor], _frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x [B, T, in] to [B, stride T, out]."""
        batch, length, _ = x.shape
        padded = torch.cat((tails[0], x), dim=1)  # [B, taps-1+T, in]
        newest_first = [padded[:, tap : tap + length] for tap in reversed(range(self.taps))]
        y = functional.linear(torch.cat(newest_first, dim=-1), self.weight)  # [B, T, stride out]
        return y.view(batch, length * self.stride, self.shape[1]), [padded[:, length:]]


class CodecLayer(nn.Module):
    """Pre-norm transformer layer: attention with q and k normed over their whole width, SwiGLU, layer scales."""

    def __init__(
        self, *, width: int, hidden: int, heads: int, head_width: int, norm_eps: float, qk_norm_eps: float
    ) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.heads, self.head_width, self.inner = heads, head_width, heads * head_width
        self.norm_eps, self.qk_norm_eps = norm_eps, qk_norm_eps
        self.wqkv = _weight(3 * self.inner, width)
        self.wo = _weight(width, self.inner)
        self.q_norm = _weight(self.inner)
        self.k_norm = _weight(self.inner)
        self.w13 = _weight(2 * hidden, width)
        self.w2 = _weight(width, hidden)
        self.attention_norm = _weight(width)
        self.ffn_norm = _weight(width)
        self.attention_scale = _weight(width)
        self.ffn_scale = _weight(width)

    def recipes(self, name: str, source: str) -> dict[str, Recipe]:
        """See CodecBlock."""
        attention, ffn = f"{source}attention.", f"{source}feed_forward."
        qkv = tuple(Part(f"{attention}{w}.weight", (self.inner, self.width)) for w in ("wq", "wk", "wv"))
        up = tuple(Part(f"{ffn}{w}.weight", (self.hidden, self.width)) for w in ("w1", "w3"))
        return {
            f"{name}wqkv": Recipe(qkv),
            f"{name}wo": Recipe.of(f"{attention}wo.weight", self.width, self.inner),
            f"{name}q_norm": Recipe.of(f"{attention}q_norm.weight", self.inner),
            f"{name}k_norm": Recipe.of(f"{attention}k_norm.weight", self.inner),
            f"{name}w13": Recipe(up),
            f"{name}w2": Recipe.of(f"{ffn}w2.weight", self.width, self.hidden),
            f"{name}attention_norm": Recipe.of(f"{source}attention_norm.weight", self.width),
            f"{name}ffn_norm": Recipe.of(f"{source}ffn_norm.weight", self.width),
            f"{name}attention_scale": Recipe.of(f"{source}attention_scale", self.width),
            f"{name}ffn_scale": Recipe.of(f"{source}ffn_scale", self.width),
        }

    def forward(self, x: Tensor, tail: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, C]; tail [B, P, 2 inner], keys and values of the past; bias [B, H, T, P+T] added to the scores."""
        batch, length, _ = x.shape
        heads = (batch, -1, self.heads, self.head_width)
        normed = functional.rms_norm(x, (self.width,), self.attention_norm, self.norm_eps)
        q, k, v = functional.linear(normed, self.wqkv).chunk(3, dim=-1)  # [B, T, inner] each
        q = functional.rms_norm(q, (self.inner,), self.q_norm, self.qk_norm_eps)
        k = functional.rms_norm(k, (self.inner,), self.k_norm, self.qk_norm_eps)
        kv = torch.cat((tail, torch.cat((k, v), dim=-1)), dim=1)  # [B, P+T, 2 inner]
        keys, values = kv.chunk(2, dim=-1)
        attended = functional.scaled_dot_product_attention(
            q.view(heads).transpose(1, 2),  # [B, H, T, D]
            keys.reshape(heads).transpose(1, 2),  # [B, H, P+T, D]
            values.reshape(heads).transpose(1, 2),
            attn_mask=bias,
        )
        attended = attended.transpose(1, 2).reshape(batch, length, self.inner)
        x = torch.addcmul(x, self.attention_scale, functional.linear(attended, self.wo))
        normed = functional.rms_norm(x, (self.width,), self.ffn_norm, self.norm_eps)
        gate, up = functional.linear(normed, self.w13).chunk(2, dim=-1)  # [B, T, hidden] each
        x = torch.addcmul(x, self.ffn_scale, functional.linear(functional.silu(gate) * up, self.w2))
        return x, kv[:, length:]


class Stage(nn.Module):
    """Transformer layers at one rate, with ALiBi and a sliding window of the present and `window` past positions."""

    def __init__(self, layers: Sequence[CodecLayer], *, window: int, positions_per_frame: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._stack = tuple(layers)
        self.window = window
        self.positions_per_frame = positions_per_frame
        self.tail_shapes: Sequence[TailShape] = [TailShape(window, 2 * layer.inner) for layer in layers]
        self._biases: dict[int, Tensor] = {}

    def recipes(self, name: str, source: str) -> dict[str, Recipe]:
        """See CodecBlock."""
        recipes: dict[str, Recipe] = {}
        for index, layer in enumerate(self._stack):
            recipes |= layer.recipes(f"{name}layers.{index}.", f"{source}layers.{index}.")
        return recipes

    def forward(self, x: Tensor, tails: Sequence[Tensor], frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x [B, T, C] to [B, T, C]."""
        missing = self.window - frames * self.positions_per_frame  # [B] leading tail positions, before the start
        alibi = self._alibi(x)  # [H, T, P+T]
        exists = torch.arange(alibi.shape[-1], device=x.device) >= missing.unsqueeze(1)  # [B, P+T]
        bias = torch.where(exists[:, None, None, :], alibi, float("-inf"))  # [B, H, T, P+T]
        new_tails: list[Tensor] = []
        for layer, tail in zip(self._stack, tails, strict=True):
            x, new_tail = layer(x, tail, bias)
            new_tails.append(new_tail)
        return x, new_tails

    def _alibi(self, x: Tensor) -> Tensor:
        """ALiBi inside the window, -inf outside, [H, T, P+T]; built once for each T."""
        length = x.shape[1]
        if length not in self._biases:
            position = torch.arange(self.window + length, device=x.device)
            distance = position[self.window :].unsqueeze(1) - position  # [T, P+T]
            alibi = alibi_slopes(self._stack[0].heads).to(x.device).view(-1, 1, 1) * -distance
            seen = (distance >= 0) & (distance <= self.window)
            self._biases[length] = alibi.masked_fill(~seen, float("-inf")).to(x.dtype)
        return self._biases[length]
