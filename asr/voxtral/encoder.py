"""The causal audio encoder: transformer layers over 20 ms frames, each seeing the newest 15 s, keys in a ring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from llm.runtime.architecture import DecoderConfig
from llm.runtime.attention import Mix, Segment, Store, attend_gathered, attend_segments, store_turned
from llm.runtime.cache import PagedCache
from llm.runtime.decoder import Reading
from llm.runtime.layers import Layer, LayerShape, RMSNorm, rotary_frequencies, rotation
from llm.runtime.weights.checkpoint import interleaved
from llm.runtime.weights.loading import Part, Recipe, under

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


class EncoderLayer(Layer):
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
        """Parameters on that device (the meta device until they are loaded) and in that type, uninitialised."""
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(EncoderLayer(LayerShape.of(config), device, dtype) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps, device, dtype)
        frequencies = rotary_frequencies(config.head_dim, config.rope_theta)
        buffer_device = None if device is None or torch.device(device).type == "meta" else device
        self.register_buffer("frequencies", frequencies.to(buffer_device), persistent=False)
        self.requires_grad_(False)

    @torch.inference_mode()
    def step(self, frames: Tensor, rows: Tensor, steps: Tensor, cache: PagedCache, *, reading: Reading) -> Tensor:
        """Encode the FRAMES new frames of each row. Unless reading "segments" there is no host synchronisation.

        Args:
            frames: [B, FRAMES, D].
            rows: row of the cache, [B] int64; padding rows are the cache's idle row.
            steps: how many steps of its stream each row has behind it, [B] int64.
            cache: made with max_tokens >= FRAMES, its rows grown to FRAMES * (steps + 1).
            reading: how the cache is read, see `llm.runtime.attention`.

        Returns:
            Encoded frames after the final norm, [B, FRAMES, D].
        """
        first = steps * FRAMES
        positions = (first[:, None] + torch.arange(FRAMES, device=steps.device)).flatten()  # [B FRAMES]
        frame_rows = rows.repeat_interleave(FRAMES)
        turn = rotation(positions, self.frequencies)  # [B FRAMES, hd / 2]
        store = self._store(turn, cache.places(frame_rows, positions), fused=reading == "paged")
        mix = self._mix(rows, first, frame_rows, positions, cache, reading)
        x = frames.flatten(0, 1)
        for index, layer in enumerate(self.layers):
            keys, values = cache.keys[index], cache.values[index]

            def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
                return mix(store(q, k, v, keys, values), keys, values)

            x = layer(x, attend)
        return self.norm(x).unflatten(0, (-1, FRAMES))

    def _store(self, turn: Tensor, places: Tensor, *, fused: bool) -> Store:
        if not fused:
            return store_turned(turn, turn, places)
        from llm.runtime.kernels.rotary import store_turned_fused  # noqa: PLC0415  # Triton is there only beside CUDA

        return store_turned_fused(turn, turn, places)

    def _mix(
        self,
        rows: Tensor,
        first: Tensor,
        frame_rows: Tensor,
        positions: Tensor,
        cache: PagedCache,
        reading: Reading,
    ) -> Mix:
        if reading == "segments":
            # torch leaves the element type of tolist() open
            at = cast("list[list[int]]", torch.stack((rows, first), 1).tolist())  # pyright: ignore[reportUnknownMemberType]
            return attend_segments(cache, [Segment(row, start, FRAMES) for row, start in at])
        if reading == "gathered":
            # each frame is a query of its own: its row's newer frames are in the cache already, masked by position
            assert cache.window is not None
            return attend_gathered(cache, frame_rows, positions, cache.window)
        from llm.runtime.kernels.paged_attention import attend_paged  # noqa: PLC0415  # Triton is there only beside CUDA

        return attend_paged(cache, rows, first, FRAMES)

    def recipes(self, names: EncoderNames) -> dict[str, Recipe]:
        """Where the parameters come from."""
        recipes = {"norm.weight": Recipe.of(names.norm, self.config.dim)}
        for layer in range(self.config.n_layers):
            recipes |= under(f"layers.{layer}", _layer_recipes(LayerShape.of(self.config), names, layer))
        return recipes


def _layer_recipes(shape: LayerShape, names: EncoderNames, layer: int) -> dict[str, Recipe]:
    d, f, q, kv = shape.dim, shape.hidden_dim, shape.query_width, shape.kv_width

    def part(leaf: str, kind: str, *size: int) -> Part:
        return names.part(layer, leaf, kind, *size)

    def turned(rows: Tensor) -> Tensor:
        return rows if names.is_interleaved else interleaved(rows, shape.head_dim)

    def fused_weight(parts: Sequence[Tensor]) -> Tensor:
        query, key, value = parts
        return torch.cat((turned(query), turned(key), value))

    def fused_bias(parts: Sequence[Tensor]) -> Tensor:
        query, value = parts
        return torch.cat((turned(query), query.new_zeros(kv), value))

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
