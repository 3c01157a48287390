"""The acoustic head: from a hidden state to the semantic code and to the velocity of the acoustic latent.

Flow matching: the latent starts as noise at flow time 0 and follows the velocity to clean audio at 1. The velocity
network looks at three tokens (latent, flow time, hidden state), without positions or mask, and is read at the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.runtime.layers import FeedForward, LayerShape, RMSNorm, TransformerLayer, linear
from llm.runtime.weights.loading import Recipe, nest
from tts.voxtral.codebooks import EMPTY, Codebooks, pad_size

PREFIX = "acoustic_transformer."
NORM_EPS = 1e-5  # not in params.json
DEFAULT_EULER_STEPS = 7  # `n_decoding_steps`, absent from the released params.json
TIME_PERIOD = 10_000.0
TOKENS = 3


@dataclass(frozen=True, slots=True)
class FlowConfig:
    """Sizes of the acoustic head."""

    layer: LayerShape
    n_layers: int
    input_dim: int  # width of the decoder's hidden states
    euler_steps: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "FlowConfig":
        """From `multimodal.audio_model_args.acoustic_transformer_args`.

        Raises:
            KeyError: a size is missing.
            ValueError: biases, which this head does not have.
        """
        if params.get("use_biases", False):
            raise ValueError("the acoustic head has no biases, but params.json says use_biases = true")
        layer = LayerShape(
            dim=params["dim"],
            n_heads=params["n_heads"],
            n_kv_heads=params["n_kv_heads"],
            head_dim=params["head_dim"],
            hidden_dim=params["hidden_dim"],
            norm_eps=params.get("norm_eps", NORM_EPS),
        )
        steps = params.get("n_decoding_steps") or DEFAULT_EULER_STEPS
        return cls(layer, params["n_layers"], params["input_dim"], steps)


class Readout(nn.Module):
    """The last layer, which computes only the token that is read. The parameters are those of a `TransformerLayer`."""

    def __init__(
        self, shape: LayerShape, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm = RMSNorm(shape.dim, shape.norm_eps, device, dtype)
        self.wq = linear(shape.dim, shape.query_width, device, dtype)
        self.wkv = linear(shape.dim, 2 * shape.kv_width, device, dtype)
        self.wo = linear(shape.query_width, shape.dim, device, dtype)
        self.ffn_norm = RMSNorm(shape.dim, shape.norm_eps, device, dtype)
        self.feed_forward = FeedForward(shape.dim, shape.hidden_dim, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The first token's output [N, D] of x [N, 3, D]."""
        shape = self.shape
        normed = self.attention_norm(x)
        q = self.wq(normed[:, :1]).reshape(len(x), 1, shape.n_heads, shape.head_dim)
        kv = self.wkv(normed).reshape(len(x), TOKENS, 2 * shape.n_kv_heads, shape.head_dim)
        k, v = kv.chunk(2, dim=2)  # [N, 3, KV, hd]
        read = x[:, 0] + self.wo(attend_all(q, k, v).flatten(1))
        return read + self.feed_forward(self.ffn_norm(read))

    @staticmethod
    def recipes(shape: LayerShape, prefix: str) -> dict[str, Recipe]:
        """A layer's recipes with the query matrix on its own."""
        recipes = TransformerLayer.recipes(shape, prefix)
        q, k, v = recipes.pop("wqkv.weight").parts
        return recipes | {"wq.weight": Recipe((q,)), "wkv.weight": Recipe((k, v))}


def attend_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query [N, Q, H, hd] attends to every key and value [N, 3, KV, hd]; [N, Q, H, hd]."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2)


class FlowHead(nn.Module):
    """Semantic head and velocity network."""

    def __init__(
        self,
        config: FlowConfig,
        codebooks: Codebooks,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.codebooks = codebooks
        dim = config.layer.dim
        self.input_projection = linear(codebooks.acoustic, dim, device, dtype)
        self.time_projection = linear(dim, dim, device, dtype)
        self.llm_projection = linear(config.input_dim, dim, device, dtype)
        self.layers = nn.ModuleList(TransformerLayer(config.layer, device, dtype) for _ in range(config.n_layers - 1))
        self.readout = Readout(config.layer, device, dtype)
        self.norm = RMSNorm(dim, config.layer.norm_eps, device, dtype)
        semantic_rows = pad_size(codebooks.semantic_codes)
        self.semantic_codebook_output = linear(config.input_dim, semantic_rows, device, dtype)
        self.acoustic_codebook_output = linear(dim, codebooks.acoustic, device, dtype)
        self.requires_grad_(False)

    def semantic_logits(self, hidden: Tensor) -> Tensor:
        """Unmasked scores [B, padded codes] float32 of hidden states [B, D]."""
        return self.semantic_codebook_output(hidden).to(torch.float32)

    def semantic(self, hidden: Tensor) -> Tensor:
        """The most likely semantic code [B] int64 of hidden states [B, D]; END is allowed, EMPTY is not."""
        real = self.semantic_logits(hidden)[:, EMPTY + 1 : self.codebooks.semantic_codes]
        return real.argmax(dim=-1) + EMPTY + 1

    def condition(self, hidden: Tensor) -> Tensor:
        """The hidden states' tokens [2, B, D] of both branches: guided, and unguided, which sees a zero state."""
        guided = self.llm_projection(hidden)
        return torch.stack((guided, torch.zeros_like(guided)))

    def time_tokens(self, times: Tensor) -> Tensor:
        """Tokens [n, D] of flow times [n]; they depend on nothing else, so compute them once."""
        weight = self.time_projection.weight
        return self.time_projection(time_embedding(times, weight.shape[1]).to(weight))

    def velocity(self, latent: Tensor, time_token: Tensor, condition: Tensor) -> Tensor:
        """Velocities of both branches.

        Args:
            latent: [B, A] float32.
            time_token: [D], of this flow time.
            condition: [2, B, D], of these rows.

        Returns:
            d latent / d t, guided and unguided, [2, B, A] float32.
        """
        noisy = self.input_projection(latent.to(condition.dtype))  # [B, D]
        tokens = (noisy.expand_as(condition), time_token.expand_as(condition), condition)
        x = torch.stack(tokens, dim=2).flatten(0, 1)  # [2 B, 3, D]
        for layer in self.layers:
            x = layer(x, attend_all)
        read = self.acoustic_codebook_output(self.norm(self.readout(x)))  # [2 B, A]
        return read.reshape(2, len(latent), -1).to(torch.float32)

    def recipes(self) -> dict[str, Recipe]:
        """Where the parameters come from."""
        shape, last = self.config.layer, self.config.n_layers - 1
        recipes = {
            f"{name}.weight": Recipe.of(f"{PREFIX}{name}.weight", *module.weight.shape)
            for name, module in self.named_children()
            if isinstance(module, nn.Linear | RMSNorm)
        }
        for index in range(last):
            recipes |= nest(f"layers.{index}", TransformerLayer.recipes(shape, f"{PREFIX}layers.{index}."))
        return recipes | nest("readout", Readout.recipes(shape, f"{PREFIX}layers.{last}."))


def time_embedding(times: Tensor, dim: int) -> Tensor:
    """Sinusoids [n, dim] float32 of times [n], cosines first, periods from 2 pi to 2 pi * 10,000."""
    half = dim // 2
    index = torch.arange(half, device=times.device, dtype=torch.float32)
    angles = times.to(torch.float32)[:, None] * TIME_PERIOD ** (-index / half)  # [n, dim / 2]
    return torch.cat((angles.cos(), angles.sin()), dim=-1)
