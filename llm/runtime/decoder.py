"""The causal Mistral decoder that speech, recognition and chat share: embeddings in, normed hidden states out.

What stands at a position (a text token, a sum of audio codes, a voice row) is the caller's business, and so is what
is read off the hidden state. Both passes write keys and values into a paged cache whose rows the caller has opened
and grown.
"""

import logging
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.runtime.architecture import DecoderConfig
from llm.runtime.attention import Mix, Segment, Store, attend_gathered, attend_padded, attend_segments, store_turned
from llm.runtime.cache import PagedCache
from llm.runtime.layers import Layer, LayerShape, RMSNorm, linear, multiply, rotary_frequencies, rotation
from llm.runtime.weights.loading import Recipe, under

logger = logging.getLogger(__name__)

Reading = Literal["segments", "gathered", "paged"]
"""How a decode step reads the cache: see `attention.py`. "segments" needs a CPU, "paged" needs CUDA with Triton."""


def default_reading(device: torch.device) -> Reading:
    """The fastest way to read the cache that this machine has."""
    if device.type != "cuda":
        return "segments"
    return "paged" if _can_launch_kernels() else "gathered"


def _can_launch_kernels() -> bool:
    """Whether Triton is there and has what its first launch takes: a C compiler, Python's headers, CUDA's driver."""
    if find_spec("triton") is None:
        return False
    driver = cast("Any", import_module("triton.runtime")).driver
    try:
        _ = driver.active  # made at its first use
    except Exception as error:  # whatever a compiler or a linker says
        logger.warning("Triton cannot work here, so steps are slow; it needs gcc and Python's headers: %s", error)
        return False
    return True


class DelayCondition(nn.Module):
    """The bottleneck that turns a condition vector into one layer's FFN scale: 1 + up(gelu(down(condition)))."""

    def __init__(
        self, dim: int, width: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.down = linear(dim, width, device, dtype)
        self.up = linear(width, dim, device, dtype)

    def forward(self, condition: Tensor) -> Tensor:
        """Factors [..., D] of a condition [..., D]."""
        return 1 + self.up(functional.gelu(self.down(condition)))


class Decoder(nn.Module):
    """All layers, the token table and, where the model has one, the language model head."""

    frequencies: Tensor

    def __init__(
        self, config: DecoderConfig, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Parameters on that device (the meta device until they are loaded) and in that type, uninitialised."""
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim, device=device, dtype=dtype)
        self.layers = nn.ModuleList(Layer(LayerShape.of(config), device, dtype) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps, device, dtype)
        self.output = linear(config.dim, config.vocab_size, device, dtype) if config.head == "untied" else None
        self.delay = (
            nn.ModuleList(DelayCondition(config.dim, config.ada_norm_dim, device, dtype) for _ in self.layers)
            if config.ada_norm_dim
            else None
        )
        frequencies = rotary_frequencies(config.head_dim, config.rope_theta, config.yarn)
        buffer_device = None if device is None or torch.device(device).type == "meta" else device
        self.register_buffer("frequencies", frequencies.to(buffer_device), persistent=False)
        self.requires_grad_(False)

    def embed(self, ids: Tensor) -> Tensor:
        """Rows [..., D] of the token table for ids [...]."""
        return self.tok_embeddings(ids)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [..., V] float32 of the next token for hidden states [..., D]."""
        assert self.config.head != "none", "this decoder has no language model head"
        matrix = self.tok_embeddings.weight if self.output is None else self.output.weight
        return multiply(hidden, matrix).to(torch.float32)

    def ffn_scales(self, condition: Tensor) -> Tensor:
        """FFN factors [N, layers, D] for condition vectors [N, D]; a table of them serves `step` and `prefill`."""
        assert self.delay is not None, "this decoder takes no condition"
        return torch.stack([delay(condition) for delay in self.delay], dim=1)

    @torch.inference_mode()
    def prefill(
        self, x: Tensor, parts: Sequence[Segment], cache: PagedCache, ffn_scale: Tensor | None = None
    ) -> Tensor:
        """Run packed segments of any lengths. Lengths are read on the host, so this is not for a CUDA graph.

        Args:
            x: embeddings of all segments one after the other, [N, D] with N the sum of their tokens.
            parts: whose tokens these are; no row twice.
            cache: keys and values before each segment are read, the segments' own are written.
            ffn_scale: per layer FFN factors of every token, [N, layers, D].

        Returns:
            Hidden states after the final norm, [N, D].
        """
        rows = [part.row for part in parts for _ in range(part.tokens)]
        positions = [part.start + token for part in parts for token in range(part.tokens)]
        row_index = torch.tensor(rows, device=x.device)
        position_index = torch.tensor(positions, device=x.device)
        if _pays_to_pad(parts, cache):
            mix = attend_padded(cache, parts, self.config.n_heads // self.config.n_kv_heads)
        else:
            mix = attend_segments(cache, parts)
        return self._run(x, row_index, position_index, cache, mix, ffn_scale, fused=False)

    @torch.inference_mode()
    def step(
        self,
        x: Tensor,
        rows: Tensor,
        positions: Tensor,
        cache: PagedCache,
        *,
        reading: Reading,
        span: int | None = None,
        ffn_scale: Tensor | None = None,
    ) -> Tensor:
        """Run one token of each row. Unless reading "segments" there is no host synchronisation.

        Args:
            x: embeddings, [B, D].
            rows: row of the cache, [B] int64; padding rows are the cache's idle row, index `cache.rows`.
            positions: position of each token in its stream, [B] int64.
            cache: as for `prefill`.
            reading: how the cache is read.
            span: for "gathered", the most tokens that any row may see; by default the window or a full row.
            ffn_scale: per layer FFN factors, [B, layers, D].

        Returns:
            Hidden states after the final norm, [B, D].
        """
        mix = self._mix(rows, positions, cache, reading, span)
        return self._run(x, rows, positions, cache, mix, ffn_scale, fused=reading == "paged")

    def _mix(self, rows: Tensor, positions: Tensor, cache: PagedCache, reading: Reading, span: int | None) -> Mix:
        if reading == "segments":
            # torch leaves the element type of tolist() open
            at = cast("list[list[int]]", torch.stack((rows, positions), 1).tolist())  # pyright: ignore[reportUnknownMemberType]
            return attend_segments(cache, [Segment(row, position, 1) for row, position in at])
        if reading == "gathered":
            return attend_gathered(cache, rows, positions, span or cache.window or cache.max_tokens)
        from llm.runtime.kernels.paged_attention import attend_paged  # noqa: PLC0415  # Triton is there only beside CUDA

        return attend_paged(cache, rows, positions)

    def _run(
        self,
        x: Tensor,
        rows: Tensor,
        positions: Tensor,
        cache: PagedCache,
        mix: Mix,
        ffn_scale: Tensor | None,
        *,
        fused: bool,
    ) -> Tensor:
        turn = rotation(positions, self.frequencies)  # [N, hd / 2]
        store = self._store(turn, turn * self._query_factor(positions), cache.places(rows, positions), fused=fused)
        for index, layer in enumerate(self.layers):
            keys, values = cache.keys[index], cache.values[index]

            def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
                return mix(store(q, k, v, keys, values), keys, values)

            x = layer(x, attend, None if ffn_scale is None else ffn_scale[:, index])
        return self.norm(x)

    def _store(self, turn: Tensor, query_turn: Tensor, places: Tensor, *, fused: bool) -> Store:
        if not fused:
            return store_turned(turn, query_turn, places)
        from llm.runtime.kernels.rotary import store_turned_fused  # noqa: PLC0415  # Triton is there only beside CUDA

        return store_turned_fused(turn, query_turn, places)

    def _query_factor(self, positions: Tensor) -> Tensor | float:
        """Factors [N, 1] float32 on the queries; they ride on the rotation, which is linear and in float32."""
        scaling = self.config.query_scaling
        if scaling is None:
            return 1.0
        whole = torch.div(positions, scaling.original_positions, rounding_mode="floor")
        return (1 + scaling.beta * torch.log1p(whole.to(torch.float32)))[:, None]

    def recipes(self, embedding: str = "tok_embeddings.weight") -> dict[str, Recipe]:
        """Where the parameters come from, in consolidated names; `embedding` is the token table's."""
        config = self.config
        recipes = {
            "tok_embeddings.weight": Recipe.of(embedding, config.vocab_size, config.dim),
            "norm.weight": Recipe.of("norm.weight", config.dim),
        }
        if self.output is not None:
            recipes["output.weight"] = Recipe.of("output.weight", config.vocab_size, config.dim)
        for index in range(config.n_layers):
            layer = Layer.recipes(LayerShape.of(config), f"layers.{index}.")
            recipes |= under(f"layers.{index}", layer)
            if config.ada_norm_dim:
                stem, width = f"layers.{index}.ada_rms_norm_t_cond", config.ada_norm_dim
                recipes[f"delay.{index}.down.weight"] = Recipe.of(f"{stem}.0.weight", width, config.dim)
                recipes[f"delay.{index}.up.weight"] = Recipe.of(f"{stem}.2.weight", config.dim, width)
        return recipes


def _pays_to_pad(parts: Sequence[Segment], cache: PagedCache) -> bool:
    """Whether to pad these segments, and what stands before each in the cache, to the longest."""
    if cache.tables.device.type != "cuda" or cache.window is not None or len(parts) == 1:
        return False
    tokens, ends = [part.tokens for part in parts], [part.start + part.tokens for part in parts]
    return all(len(parts) * max(lengths) <= 2 * sum(lengths) for lengths in (tokens, ends))
