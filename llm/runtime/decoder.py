"""The causal Mistral decoder that speech, recognition and chat share: embeddings in, normed hidden states out.

What stands at a position (a text token, a sum of audio codes, a voice row) is the caller's business, and so is what
is read off the hidden state. Both passes write keys and values into a paged cache whose rows the caller has opened
and grown.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.runtime.architecture import DecoderConfig
from llm.runtime.attention import Segment, attend_padded, attend_segments, write_kv
from llm.runtime.backend import StepTokens, run_layers
from llm.runtime.cache import PagedCache
from llm.runtime.layers import LayerShape, RMSNorm, TransformerLayer, linear, multiply, rotary_frequencies, rotation
from llm.runtime.weights.loading import Recipe, nest


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
        """Parameters on that device (the meta device until they are loaded) and in that type, uninitialized."""
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim, device=device, dtype=dtype)
        self.layers = nn.ModuleList(
            TransformerLayer(LayerShape.of(config), device, dtype) for _ in range(config.n_layers)
        )
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
        rows = torch.tensor([part.row for part in parts for _ in range(part.tokens)], device=x.device)
        positions = torch.tensor([part.start + at for part in parts for at in range(part.tokens)], device=x.device)
        if _pays_to_pad(parts, cache):
            attention = attend_padded(cache, parts, self.config.n_heads // self.config.n_kv_heads)
        else:
            attention = attend_segments(cache, parts)
        write = write_kv(*self._rotary(positions), cache.slot_mapping(rows, positions))
        return self.norm(run_layers(self.layers, x, cache, write, attention, ffn_scale))

    @torch.inference_mode()
    def step(self, x: Tensor, tokens: StepTokens, *, ffn_scale: Tensor | None = None) -> Tensor:
        """Run one token of each row, in fixed shapes.

        Args:
            x: embeddings, [B, D].
            tokens: whose they are; padding rows are the cache's idle row.
            ffn_scale: per layer FFN factors, [B, layers, D].

        Returns:
            Hidden states after the final norm, [B, D].
        """
        write = tokens.write_kv(*self._rotary(tokens.positions))
        return self.norm(run_layers(self.layers, x, tokens.cache, write, tokens.attention(), ffn_scale))

    def _rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rotation of keys and of queries, [N, hd / 2] each."""
        rotary = rotation(positions, self.frequencies)
        return rotary, rotary * self._query_factor(positions)

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
            layer = TransformerLayer.recipes(LayerShape.of(config), f"layers.{index}.")
            recipes |= nest(f"layers.{index}", layer)
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
