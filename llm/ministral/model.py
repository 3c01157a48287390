"""A chat model of the Ministral 3 family whole: decoder and chat format, loaded from one folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from llm.ministral.chat_format import ChatFormat
from llm.runtime.architecture import DecoderConfig
from llm.runtime.decoder import Decoder
from llm.runtime.weights.checkpoint import (
    HUGGING_FACE,
    Checkpoint,
    CheckpointError,
    CheckpointIncomplete,
    TensorMismatch,
    read_json,
    weight_files,
)
from llm.runtime.weights.fp8 import keep_fp8
from llm.runtime.weights.loading import load_parameters

VISION = (  # parts for pictures, which a voice has no use for
    "vision_encoder.",
    "vision_language_adapter.",
    "patch_merger.",
    "pre_mm_projector_norm.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
    "vision_tower.",
    "multi_modal_projector.",
)


class Ministral(nn.Module):
    """The model on one device. It holds no state of any conversation: see `llm.ministral.slots`.

    Attributes:
        config: its shape.
        decoder: its parameters.
        chat: how conversations are written for it.
    """

    def __init__(self, config: DecoderConfig, chat: ChatFormat, device: torch.device, dtype: torch.dtype) -> None:
        """Uninitialized. Use `load`."""
        super().__init__()
        self.config = config
        self.decoder = Decoder(config, device, dtype)
        self.chat = chat

    @classmethod
    @torch.inference_mode()
    def load(cls, folder: Path, *, device: torch.device, dtype: torch.dtype, keeps_fp8: bool = False) -> Self:
        """A checkpoint as published: params.json and consolidated.safetensors, or config.json and model.safetensors.

        Either has tekken.json beside it. FP8 weights are widened with their scales, or stay as they are if `keeps_fp8`.

        Raises:
            CheckpointError: something is missing, does not fit, or does not fit into memory.
        """
        config = read_config(folder)
        chat = ChatFormat.load(folder)
        if chat.vocabulary > config.vocab_size:
            raise TensorMismatch(
                f"tekken.json has {chat.vocabulary} tokens, the model {config.vocab_size}; it belongs to another model"
            )
        model = cls(config, chat, torch.device("meta"), dtype)
        ignored = [*VISION, "output.weight"] if config.head == "tied" else VISION  # a tied head, stored or not
        with Checkpoint(folder, config.head_dim) as checkpoint:
            recipes = model.decoder.recipes()
            if keeps_fp8:
                keep_fp8(model.decoder, checkpoint)
            load_parameters(model.decoder, recipes, checkpoint, device=device, dtype=dtype, ignored=ignored)
        return model

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.decoder.tok_embeddings.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of caches and activations."""
        return self.decoder.tok_embeddings.weight.dtype


def read_config(folder: Path) -> DecoderConfig:
    """The shape of the checkpoint in that folder.

    Raises:
        CheckpointIncomplete: it describes another kind of model, or nothing.
    """
    is_hugging_face = weight_files(folder)[0].name.startswith(HUGGING_FACE)
    described_in = "config.json" if is_hugging_face else "params.json"
    description = read_json(folder, described_in)
    try:
        config = _from_hugging_face(description) if is_hugging_face else DecoderConfig.from_params(description)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointIncomplete(
            f"{folder / described_in} does not describe a Mistral chat model ({error!r}); download it again"
        ) from None
    return config


def _from_hugging_face(description: dict[str, Any]) -> DecoderConfig:
    """The text model's shape; whether its head is tied may be said beside it."""
    text: dict[str, Any] = description.get("text_config") or description
    return DecoderConfig.from_hugging_face(
        {"tie_word_embeddings": description.get("tie_word_embeddings", False)} | text
    )


def without_window(config: DecoderConfig, context_tokens: int) -> DecoderConfig:
    """The same model for contexts in which its sliding window, if it has one, makes no difference.

    Raises:
        CheckpointError: it would make one.
    """
    if config.window is not None and config.window < context_tokens:
        raise CheckpointError(
            f"the model sees the newest {config.window} tokens, context_tokens is {context_tokens}; "
            f"set context_tokens to at most {config.window}"
        )
    return replace(config, window=None)
