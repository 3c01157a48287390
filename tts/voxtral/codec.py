"""The Voxtral codec decoder: frames of codes to waveform, streamed one frame at a time with exact state.

Incremental decoding equals decoding the whole: every operation is causal at frame granularity, and the state keeps
all that an operation needs of its past (265 KB a stream in bf16, against 25 frames decoded again for each chunk).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.runtime.weights.loading import Part, Recipe
from tts.voxtral.codebooks import END, SPECIALS
from tts.voxtral.codec_layers import CausalConv, CausalTransposedConv, CodecBlock, CodecLayer, Stage

_CHECKPOINT_PREFIX = "audio_tokenizer."
_DEFAULT_ENCODER_STRIDES = "2,2,2,1"  # of the encoder, which is not released; the decoder's windows derive from them
_MIN_CLUSTER_USAGE = 1e-5


@dataclass(frozen=True)
class CodecConfig:
    """The decoder's half of `audio_tokenizer_args` in params.json."""

    sample_rate_hz: int
    patch_samples: int  # samples of one position at the last stage
    patch_kernel: int
    semantic_codes: int
    semantic_width: int
    acoustic_levels: int
    acoustic_codebooks: int
    width: int
    hidden: int
    heads: int
    head_width: int
    norm_eps: float
    qk_norm_eps: float
    layers: tuple[int, ...]  # of each stage
    kernels: tuple[int, ...]  # of the convolution before each stage
    strides: tuple[int, ...]
    windows: tuple[int, ...]  # past positions that attention sees, of each stage

    @property
    def frame_samples(self) -> int:
        """Samples of one frame of codes."""
        return self.patch_samples * math.prod(self.strides)

    @property
    def frame_s(self) -> float:
        """Duration of one frame."""
        return self.frame_samples / self.sample_rate_hz

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "CodecConfig":
        """The configuration in `audio_tokenizer_args`.

        Raises:
            KeyError: a field is missing.
            ValueError: a setting that this decoder does not implement; names it.
        """
        implemented = {
            "channels": 1, "causal": True, "use_biases": False, "qk_norm": True, "layer_scale": True,
            "conv_weight_norm": True, "n_kv_heads": params["n_heads"],
        }  # fmt: skip
        for name, value in implemented.items():
            if params[name] != value:
                raise ValueError(f"audio_tokenizer_args: {name} must be {value} for this decoder, found {params[name]}")

        strides = _integers(params["decoder_convs_strides_str"])
        window = int(params["attn_sliding_window_size"])
        windows = (window,) * len(strides)
        if params["half_attn_window_upon_downsampling"]:  # halved by the encoder, doubled again by each upsampling
            first = window // math.prod(_integers(params.get("encoder_convs_strides_str", _DEFAULT_ENCODER_STRIDES)))
            windows = tuple(first * math.prod(strides[1 : stage + 1]) for stage in range(len(strides)))
        return cls(
            sample_rate_hz=params["sampling_rate"],
            patch_samples=params["pretransform_patch_size"],
            patch_kernel=params["patch_proj_kernel_size"],
            semantic_codes=params["semantic_codebook_size"],
            semantic_width=params["semantic_dim"],
            acoustic_levels=params["acoustic_codebook_size"],
            acoustic_codebooks=params["acoustic_dim"],
            width=params["dim"],
            hidden=params["hidden_dim"],
            heads=params["n_heads"],
            head_width=params["head_dim"],
            norm_eps=params["norm_eps"],
            qk_norm_eps=params["qk_norm_eps"],
            layers=_integers(params["decoder_transformer_lengths_str"]),
            kernels=_integers(params["decoder_convs_kernels_str"]),
            strides=strides,
            windows=windows,
        )


@dataclass(frozen=True)
class CodecState:
    """Streaming state, one row per slot.

    tails: [slots, W], every layer's tail of a stream, laid end to end: one gather and one scatter a step.
    frames: [slots], int64, frames decoded so far.
    """

    tails: Tensor
    frames: Tensor

    def reset(self, slots: Tensor) -> None:
        """Make these slots [N] (int64) ready for a new stream."""
        self.tails[slots] = 0  # stale numbers are masked, but a NaN left by a failed stream would survive the mask
        self.frames[slots] = 0


class CodecDecoder(nn.Module):
    """Codes to waveform. The weights are empty until filled by the recipes."""

    def __init__(self, config: CodecConfig, *, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = config
        with torch.device(device):
            codebook = torch.empty(config.semantic_codes, config.semantic_width)
            self.codebook = nn.Parameter(codebook, requires_grad=False)
            blocks = list(_decoder_blocks(config))
            self.decoder_blocks = nn.ModuleList(blocks)
            self.output_proj = CausalConv(config.width, config.patch_samples, config.patch_kernel, start="reflect")
        self._blocks: tuple[CodecBlock, ...] = (*blocks, self.output_proj)
        self.to(dtype)

    def recipes(self) -> dict[str, Recipe]:
        """How each parameter is made of checkpoint tensors."""
        source = f"{_CHECKPOINT_PREFIX}quantizer.semantic_codebook"
        codes, width = self.codebook.shape
        quotient = (Part(f"{source}.embedding_sum", (codes, width)), Part(f"{source}.cluster_usage", (codes,)))
        recipes = {"codebook": Recipe(quotient, _codebook)}
        for index, block in enumerate(self._blocks[:-1]):
            name = f"decoder_blocks.{index}."
            recipes |= block.recipes(name, f"{_CHECKPOINT_PREFIX}{name}")
        return recipes | self.output_proj.recipes("output_proj.", f"{_CHECKPOINT_PREFIX}output_proj.")

    def start(self, slots: int) -> CodecState:
        """State for this many streams, none of which has begun."""
        width = sum(tail.positions * tail.width for block in self._blocks for tail in block.tail_shapes)
        return CodecState(
            tails=torch.zeros(slots, width, dtype=self.codebook.dtype, device=self.codebook.device),
            frames=torch.zeros(slots, dtype=torch.int64, device=self.codebook.device),
        )

    def step(self, codes: Tensor, state: CodecState, slots: Tensor) -> Tensor:
        """Samples [B, frame_samples], float32, of the next frame [B, 1 + A] of B streams: `stream` of one frame."""
        return self.stream(codes.unsqueeze(1), state, slots)

    def stream(self, codes: Tensor, state: CodecState, slots: Tensor) -> Tensor:
        """Samples [B, T * frame_samples], float32, of the next T frames of B streams; advances their state.

        Args:
            codes: as emitted, [B, T, 1 + A], int64; each at least SPECIALS.
            state: of all slots.
            slots: where the streams live, [B], int64. A slot may repeat if neither its samples nor its state matter.
        """
        return self._advance(self.dequantize(codes), state, slots)

    def decode(self, codes: Tensor) -> Tensor:
        """Samples [S], float32, of the whole utterance [T, 1 + A], up to its END frame if it has one."""
        *_, (_, wave) = self.trace(codes)
        return wave

    def trace(self, codes: Tensor) -> Iterator[tuple[str, Tensor]]:
        """`decode`, with what happens on the way: codec.latent [T, C], codec.block0 .. [P, C], codec.wave [S] last."""
        ends = (codes[:, 0] == END).nonzero()
        codes = codes[: int(ends[0])] if len(ends) else codes
        if not len(codes):
            yield "codec.wave", torch.zeros(0, device=codes.device)
            return
        latent = self.dequantize(codes.unsqueeze(0))
        yield "codec.latent", latent[0]
        outputs: list[Tensor] = []
        slots = torch.zeros(1, dtype=torch.int64, device=codes.device)
        wave = self._advance(latent, self.start(slots=1), slots, outputs)
        for index, output in enumerate(outputs):
            yield f"codec.block{index}", output[0]
        yield "codec.wave", wave[0]

    def dequantize(self, codes: Tensor) -> Tensor:
        """Latents [B, T, C] of emitted codes [B, T, 1 + A]: the codebook's row, then the levels over [-1, 1]."""
        values = codes - SPECIALS
        semantic = functional.embedding(values[..., 0], self.codebook)
        acoustic = values[..., 1:] * (2 / (self.config.acoustic_levels - 1)) - 1
        return torch.cat((semantic, acoustic.to(semantic.dtype)), dim=-1)

    def _advance(self, latent: Tensor, state: CodecState, slots: Tensor, outputs: list[Tensor] | None = None) -> Tensor:
        """Samples [B, S] of latents [B, T, C]; appends each block's output, bar the last, to `outputs`."""
        frames = state.frames[slots]
        flat = state.tails[slots]  # [B, W]
        new_tails: list[Tensor] = []
        offset = 0
        x = latent
        for block in self._blocks:
            if outputs is not None and block is not self._blocks[0]:
                outputs.append(x)
            tails: list[Tensor] = []
            for shape in block.tail_shapes:
                end = offset + shape.positions * shape.width
                tails.append(flat[:, offset:end].view(-1, shape.positions, shape.width))
                offset = end
            x, block_tails = block(x, tails, frames)
            new_tails += block_tails
        state.tails[slots] = torch.cat([tail.flatten(1) for tail in new_tails], dim=1)
        state.frames[slots] = frames + latent.shape[1]
        return x.flatten(1).float()


def _decoder_blocks(config: CodecConfig) -> Iterator[CausalConv | CausalTransposedConv | Stage]:
    """A convolution and a stage of transformer layers at each rate, from one position a frame to the last."""
    in_width, positions = config.semantic_width + config.acoustic_codebooks, 1
    for layers, kernel, stride, window in zip(
        config.layers, config.kernels, config.strides, config.windows, strict=True
    ):
        if stride == 1:
            yield CausalConv(in_width, config.width, kernel, start="replicate")
        else:
            yield CausalTransposedConv(in_width, config.width, kernel, stride)
        in_width, positions = config.width, positions * stride
        stack = [
            CodecLayer(
                width=config.width,
                hidden=config.hidden,
                heads=config.heads,
                head_width=config.head_width,
                norm_eps=config.norm_eps,
                qk_norm_eps=config.qk_norm_eps,
            )
            for _ in range(layers)
        ]
        yield Stage(stack, window=window, positions_per_frame=positions)


def _codebook(parts: Sequence[Tensor]) -> Tensor:
    """Mean of the vectors that fell on each code: their sum over their (moving) count."""
    embedding_sum, cluster_usage = parts
    return embedding_sum / cluster_usage.clamp(min=_MIN_CLUSTER_USAGE).unsqueeze(1)


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
