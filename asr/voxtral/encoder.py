"""The causal audio encoder: transformer layers over 20 ms frames, each seeing the newest 15 s, keys in a ring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llm.runtime.architecture import DecoderConfig
from llm.runtime.backend import StepTokens, run_layers
from llm.runtime.layers import LayerShape, RMSNorm, TransformerLayer, rotary_frequencies, rotation
from llm.runtime.weights.checkpoint import interleave
from llm.runtime.weights.loading import Part, Recipe, nest

FRAMES = 4  # of one step: 80 ms


def encoder_config(args: Mapping[str, Any]) -> DecoderConfig:
    """The layers' shape from `encoder_args` of `params.json`. They are a decoder's, without a token table.

    Raises:
        KeyError: a size is missing.
        ValueError: the encoder is of another kind.
    """
    wanted = {"causal": True, "pos_embed": "rope", "ffn_type": "swiglu", "norm_type": "rms_norm", "use_biases": True}
    for key, value in wanted.items():
        if args[key] != value:
            raise ValueError(f"the encoder needs {key} = {value!r}, params.json says {args[key]!r}")
    return DecoderConfig(
        dim=args["dim"],
        n_layers=args["n_layers"],
        n_heads=args["n_heads"],
        n_kv_heads=args["n_kv_heads"],
        head_dim=args["head_dim"],
        hidden_dim=args["hidden_dim"],
        vocab_size=0,
        rope_theta=args["rope_theta"],
        norm_eps=args["norm_eps"],
        head="none",
        window=args["sliding_window"],
    )


class EncoderLayer(TransformerLayer):
    """A layer with biases, save on keys, gate and up."""

    def __init__(
        self, shape: LayerShape, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(shape, device, dtype)
        width = shape.query_width + 2 * shape.kv_width
        self.wqkv = nn.Linear(shape.dim, width, device=device, dtype=dtype)
        self.wo = nn.Linear(shape.query_width, shape.dim, device=device, dtype=dtype)
        self.feed_forward.w2 = nn.Linear(shape.hidden_dim, shape.dim, device=device, dtype=dtype)


@dataclass(frozen=True, slots=True)
class EncoderNames:
    """How a checkpoint layout names the encoder's tensors, and how it rotates."""

    layers: str  # before the layer's number
    norm: str
    leaves: Mapping[str, str]  # consolidated name of a layer's module -> name here
    is_interleaved: bool

    def part(self, layer: int, leaf: str, kind: str, *shape: int) -> Part:
        """The tensor `kind` ("weight", "bias") of that module of that layer."""
        return Part(f"{self.layers}{layer}.{self.leaves.get(leaf, leaf)}.{kind}", shape)


class Encoder(nn.Module):
    """All layers and the last norm, over frames that the stem made."""

    frequencies: Tensor

    def __init__(
        self, config: DecoderConfig, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Parameters on that device (the meta device until they are loaded) and in that type, uninitialized."""
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(EncoderLayer(LayerShape.of(config), device, dtype) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps, device, dtype)
        frequencies = rotary_frequencies(config.head_dim, config.rope_theta)
        buffer_device = None if device is None or torch.device(device).type == "meta" else device
        self.register_buffer("frequencies", frequencies.to(buffer_device), persistent=False)
        self.requires_grad_(False)

    @torch.inference_mode()
    def step(self, frames: Tensor, tokens: StepTokens) -> Tensor:
        """Encode the FRAMES new frames of each row, in fixed shapes.

        Args:
            frames: [B, FRAMES, D].
            tokens: FRAMES of each row, whose first stands behind FRAMES for each step of its stream; the cache is made
                with max_tokens >= FRAMES.

        Returns:
            Encoded frames after the final norm, [B, FRAMES, D].
        """
        rotary = rotation(tokens.positions, self.frequencies)  # [B FRAMES, hd / 2]
        write = tokens.write_kv(rotary, rotary)
        x = run_layers(self.layers, frames.flatten(0, 1), tokens.cache, write, tokens.attention())
        return self.norm(x).unflatten(0, (-1, FRAMES))

    def recipes(self, names: EncoderNames) -> dict[str, Recipe]:
        """Where the parameters come from."""
        recipes = {"norm.weight": Recipe.of(names.norm, self.config.dim)}
        for layer in range(self.config.n_layers):
            recipes |= nest(f"layers.{layer}", _layer_recipes(LayerShape.of(self.config), names, layer))
        return recipes


def _layer_recipes(shape: LayerShape, names: EncoderNames, layer: int) -> dict[str, Recipe]:
    d, f, q, kv = shape.dim, shape.hidden_dim, shape.query_width, shape.kv_width

    def part(leaf: str, kind: str, *size: int) -> Part:
        return names.part(layer, leaf, kind, *size)

    def reorder(rows: Tensor) -> Tensor:
        return rows if names.is_interleaved else interleave(rows, shape.head_dim)

    def fused_weight(parts: Sequence[Tensor]) -> Tensor:
        query, key, value = parts
        return torch.cat((reorder(query), reorder(key), value))

    def fused_bias(parts: Sequence[Tensor]) -> Tensor:
        query, value = parts
        return torch.cat((reorder(query), query.new_zeros(kv), value))

    def alone(leaf: str, kind: str, *size: int) -> Recipe:
        return Recipe((part(leaf, kind, *size),))

    matrices = [part(f"attention.{w}", "weight", width, d) for w, width in (("wq", q), ("wk", kv), ("wv", kv))]
    biases = [part(f"attention.{w}", "bias", width) for w, width in (("wq", q), ("wv", kv))]
    return {
        "attention_norm.weight": alone("attention_norm", "weight", d),
        "wqkv.weight": Recipe(tuple(matrices), fused_weight),
        "wqkv.bias": Recipe(tuple(biases), fused_bias),
        "wo.weight": alone("attention.wo", "weight", d, q),
        "wo.bias": alone("attention.wo", "bias", d),
        "ffn_norm.weight": alone("ffn_norm", "weight", d),
        "feed_forward.w13.weight": Recipe(
            (part("feed_forward.w1", "weight", f, d), part("feed_forward.w3", "weight", f, d))
        ),
        "feed_forward.w2.weight": alone("feed_forward.w2", "weight", d, f),
        "feed_forward.w2.bias": alone("feed_forward.w2", "bias", d),
    }
