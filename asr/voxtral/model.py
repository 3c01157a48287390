"""Voxtral Realtime whole: mel, stem, encoder, adapter, decoder and tokenizer, loaded from one folder."""

import math
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.voxtral.architecture import StreamingSpecialTokens, VoxtralArchitecture
from asr.voxtral.encoder import FRAMES, Encoder, EncoderNames
from asr.voxtral.mel import LogMel
from asr.voxtral.stem import Stem
from asr.voxtral.timing import MAX_DELAY
from llm.runtime.decoder import Decoder
from llm.runtime.layers import linear
from llm.runtime.tokenizer import Tekken
from llm.runtime.weights.checkpoint import (
    HUGGING_FACE,
    Checkpoint,
    CheckpointIncomplete,
    TensorMismatch,
    read_json,
    weight_files,
)
from llm.runtime.weights.loading import Recipe, load_parameters, nest

EMBEDDING_MODULE = "mm_streams_embeddings.embedding_module."
DELAY_PERIOD = 10_000.0

CONSOLIDATED_ENCODER = EncoderNames(
    layers=f"{EMBEDDING_MODULE}whisper_encoder.transformer.layers.",
    norm=f"{EMBEDDING_MODULE}whisper_encoder.transformer.norm.weight",
    leaves={},
    is_interleaved=True,
)
HUGGING_FACE_LEAVES = {
    "attention_norm": "self_attn_layer_norm",
    "ffn_norm": "final_layer_norm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
}


class Adapter(nn.Module):
    """The encoder frames of a step, side by side, to one embedding: linear, GELU, linear."""

    def __init__(
        self, frame_dim: int, dim: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.inner = linear(frame_dim * FRAMES, dim, device, dtype)
        self.outer = linear(dim, dim, device, dtype)

    def forward(self, encoded: Tensor) -> Tensor:
        """[B, D] of [B, FRAMES, encoder D]."""
        return self.outer(functional.gelu(self.inner(encoded.flatten(1))))

    def recipes(self, inner: str, outer: str) -> dict[str, Recipe]:
        """Where the parameters come from, given the names of the two modules."""
        return {
            "inner.weight": Recipe.of(f"{inner}.weight", *self.inner.weight.shape),
            "outer.weight": Recipe.of(f"{outer}.weight", *self.outer.weight.shape),
        }


def delay_vectors(dim: int) -> Tensor:
    """The condition of every delay 0 to MAX_DELAY, in steps: cosines, then sines, [MAX_DELAY + 1, dim] float32."""
    index = torch.arange(dim // 2, dtype=torch.float32)
    frequencies = torch.exp(-math.log(DELAY_PERIOD) * index / (dim // 2))
    angles = torch.arange(MAX_DELAY + 1, dtype=torch.float32)[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=1)


def lay_by_columns(module: nn.Module) -> None:
    """Change how matrices lie in memory, not their values: a CPU multiplies tens of rows by them faster so."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.weight = nn.Parameter(part.weight.T.contiguous().T, requires_grad=False)


class VoxtralRealtime(nn.Module):
    """The model on one device. It holds no state of any stream: see `asr.voxtral.slots`.

    Attributes:
        delay_scales: FFN factors of each delay, [MAX_DELAY + 1, layers, D].
    """

    delay_scales: Tensor

    def __init__(
        self, config: VoxtralArchitecture, tokenizer: Tekken | None, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Uninitialized and without `delay_scales`. Use `load` or `random`."""
        super().__init__()
        self.config = config
        buffer_device = "cpu" if device.type == "meta" else device
        self.mel = LogMel(config.mels, buffer_device)
        self.stem = Stem(config.mels, config.encoder.dim, device, dtype)
        self.encoder = Encoder(config.encoder, device, dtype)
        self.adapter = Adapter(config.encoder.dim, config.decoder.dim, device, dtype)
        self.decoder = Decoder(config.decoder, device, dtype)
        self.special_tokens = StreamingSpecialTokens() if tokenizer is None else StreamingSpecialTokens.of(tokenizer)
        self._tokenizer = tokenizer
        self.requires_grad_(False)

    @classmethod
    @torch.inference_mode()
    def load(cls, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Self:
        """The released checkpoint: params.json and consolidated.safetensors, or config.json and model.safetensors.

        Either has tekken.json beside it.

        Raises:
            CheckpointError: something is missing, does not fit, or does not fit into memory.
        """
        is_hugging_face = weight_files(folder)[0].name.startswith(HUGGING_FACE)
        described_in = "config.json" if is_hugging_face else "params.json"
        description = read_json(folder, described_in)
        read = VoxtralArchitecture.from_hugging_face if is_hugging_face else VoxtralArchitecture.from_params
        try:
            config = read(description)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointIncomplete(
                f"{folder / described_in} does not describe a Voxtral Realtime model ({error!r}); download it again"
            ) from None
        tokenizer = Tekken.load(folder)
        words = tokenizer.content["config"]["default_vocab_size"]
        if words < config.decoder.vocab_size:
            raise TensorMismatch(
                f"tekken.json has {words} tokens, the model {config.decoder.vocab_size}; it belongs to another model"
            )
        model = cls(config, tokenizer, torch.device("meta"), dtype)
        with Checkpoint(folder, config.decoder.head_dim) as checkpoint:
            recipes = model._hugging_face_recipes(checkpoint) if is_hugging_face else model._consolidated_recipes()
            ignored = ["output.weight"] if is_hugging_face else []  # the tied head, stored or not
            load_parameters(model, recipes, checkpoint, device=device, dtype=dtype, ignored=ignored)
        model._finish(device, dtype)
        return model

    @classmethod
    @torch.inference_mode()
    def random(cls, config: VoxtralArchitecture, *, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Self:
        """A model of that size with random weights, made on the device: for measuring. It writes no text."""
        model = cls(config, None, device, dtype)
        generator = torch.Generator(device).manual_seed(seed)
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=generator)
        model._finish(device, dtype)
        return model

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.delay_scales.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of parameters, caches and activations."""
        return self.delay_scales.dtype

    def bytes_of(self, token: int) -> bytes:
        """The piece of UTF-8 that a text token stands for; nothing for a special token or a random model."""
        return b"" if self._tokenizer is None else self._tokenizer.bytes_of([token])

    def _finish(self, device: torch.device, dtype: torch.dtype) -> None:
        """Make `delay_scales`, the FFN factors of every delay and layer: they depend on nothing else.

        The sinusoids are in float32, whatever the type of the model; the references compute them in the latter.
        """
        if device.type == "cpu":
            lay_by_columns(self.encoder)  # which has four rows of each stream
        vectors = delay_vectors(self.config.decoder.dim).to(device=device, dtype=dtype)
        self.register_buffer("delay_scales", self.decoder.ffn_scales(vectors), persistent=False)

    def _consolidated_recipes(self) -> dict[str, Recipe]:
        e = EMBEDDING_MODULE
        return (
            nest("stem", self.stem.recipes(lambda conv: f"{e}whisper_encoder.conv_layers.{int(conv[-1]) - 1}.conv"))
            | nest("encoder", self.encoder.recipes(CONSOLIDATED_ENCODER))
            | nest(
                "adapter",
                self.adapter.recipes(f"{e}audio_language_projection.0", f"{e}audio_language_projection.2"),
            )
            | nest("decoder", self.decoder.recipes(f"{e}tok_embeddings.weight"))
        )

    def _hugging_face_recipes(self, checkpoint: Checkpoint) -> dict[str, Recipe]:
        # files saved from a loaded model have one more level of names than the released one
        top = "model." if any(name.startswith("model.audio_tower.") for name in checkpoint) else ""
        projector = f"{top}multi_modal_projector.linear_"
        names = EncoderNames(
            layers=f"{top}audio_tower.layers.",
            norm=f"{top}audio_tower.norm.weight",
            leaves=HUGGING_FACE_LEAVES,
            is_interleaved=False,
        )
        return (
            nest("stem", self.stem.recipes(lambda conv: f"{top}audio_tower.embedder.{conv}"))
            | nest("encoder", self.encoder.recipes(names))
            | nest("adapter", self.adapter.recipes(f"{projector}1", f"{projector}2"))
            | nest("decoder", self.decoder.recipes())
        )
