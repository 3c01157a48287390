"""Tiny random Voxtral Realtime models by transformers, and checkpoints of them as published."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    VoxtralRealtimeConfig,
    VoxtralRealtimeFeatureExtractor,
    VoxtralRealtimeForConditionalGeneration,
)

SPECIALS = 40
MERGES = (" hello", " world", "é")
VOCABULARY = SPECIALS + 256 + len(MERGES)
STEP_SAMPLES = 1280


@dataclass(frozen=True)
class Sizes:
    """What differs between the tiny models."""

    mels: int
    encoder: dict[str, int]
    decoder: dict[str, int]
    theta: float


# windows just above the silence at the start (124 frames, 31 positions), so that the rings go round within seconds
SIZES = {
    "narrow": Sizes(
        mels=16,
        encoder={"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "head_dim": 16, "sliding_window": 130},
        decoder={"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                 "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 40},
        theta=1e6,
    ),
    "deep": Sizes(
        mels=128,
        encoder={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
                 "head_dim": 8, "sliding_window": 200},
        decoder={"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 6,
                 "num_key_value_heads": 3, "head_dim": 32, "sliding_window": 33},
        theta=1e4,
    ),
    "grouped": Sizes(
        mels=80,
        encoder={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
                 "head_dim": 64, "sliding_window": 750},
        decoder={"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 8,
                 "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8192},
        theta=1e6,
    ),
}  # fmt: skip


class Reference:
    """A random model of transformers'."""

    def __init__(self, sizes: Sizes, seed: int) -> None:
        torch.manual_seed(seed)
        rope = {"rope_type": "default", "rope_theta": sizes.theta}
        settings: dict[str, Any] = {
            "audio_config": {**sizes.encoder, "num_mel_bins": sizes.mels, "vocab_size": VOCABULARY,
                          "rope_parameters": rope},
            "text_config": {**sizes.decoder, "model_type": "voxtral_realtime_text", "vocab_size": VOCABULARY,
                         "rope_parameters": rope, "rms_norm_eps": 1e-5},
            "attn_implementation": "eager",
        }  # fmt: skip
        self.sizes = sizes
        self.model: Any = VoxtralRealtimeForConditionalGeneration(VoxtralRealtimeConfig(**settings)).eval()
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.normal_(std=0.2).add_(1.0 if "norm" in name and "ada" not in name else 0.0)
        self.extractor = VoxtralRealtimeFeatureExtractor(feature_size=sizes.mels)

    @torch.inference_mode()
    def mel(self, samples: Tensor) -> Tensor:
        """Frames [8 N, mels] of whole audio [1280 N]."""
        found = self.extractor(samples.numpy(), sampling_rate=16_000, return_tensors="pt", center=True)
        return found["input_features"][0].T

    @torch.inference_mode()
    def forward(self, mel: Tensor, ids: Tensor, delay: int) -> dict[str, Tensor]:
        """Everything of one whole pass."""
        features = mel.T[None]
        encoded = self.model.model.audio_tower(features).last_hidden_state[0]
        out = self.model(input_ids=ids[None], input_features=features, num_delay_tokens=delay)
        audio = self.model.model.get_audio_features(features).pooler_output[0]
        return {"mel": mel, "encoded": encoded, "audio": audio, "logits": out.logits[0]}

    def save(self, folder: Path, layout: str) -> Path:
        """A checkpoint folder in that layout: "hugging face" or "consolidated"."""
        self.model.save_pretrained(folder)
        write_tokenizer(folder)
        if layout == "consolidated":
            tensors = load_file(folder / "model.safetensors")
            (folder / "model.safetensors").unlink()
            (folder / "config.json").unlink()
            save_file(dict(consolidated(tensors, self.sizes)), folder / "consolidated.safetensors")
            (folder / "params.json").write_text(json.dumps(params(self.sizes)))
        return folder


def write_tokenizer(folder: Path) -> None:
    """A vocabulary of all bytes and a few pieces, behind SPECIALS special tokens."""
    pieces = [bytes([byte]) for byte in range(256)] + [piece.encode() for piece in MERGES]
    names = {1: "<s>", 2: "</s>", 32: "[STREAMING_PAD]", 33: "[STREAMING_WORD]"}
    content = {
        "config": {"default_num_special_tokens": SPECIALS, "default_vocab_size": VOCABULARY, "pattern": r"\s?\S+|\s+"},
        "vocab": [{"rank": i, "token_bytes": base64.b64encode(p).decode()} for i, p in enumerate(pieces)],
        "special_tokens": [{"rank": i, "token_str": names.get(i, f"<unused {i}>")} for i in range(SPECIALS)],
    }
    (folder / "tekken.json").write_text(json.dumps(content))


def params(sizes: Sizes) -> dict:
    encoder, decoder = sizes.encoder, sizes.decoder
    return {
        "dim": decoder["hidden_size"], "n_layers": decoder["num_hidden_layers"], "head_dim": decoder["head_dim"],
        "hidden_dim": decoder["intermediate_size"], "n_heads": decoder["num_attention_heads"],
        "n_kv_heads": decoder["num_key_value_heads"], "use_biases": False, "causal": True, "rope_theta": sizes.theta,
        "norm_eps": 1e-5, "vocab_size": VOCABULARY, "tied_embeddings": True,
        "sliding_window": decoder["sliding_window"], "ada_rms_norm_t_cond": True, "ada_rms_norm_t_cond_dim": 32,
        "multimodal": {"whisper_model_args": {
            "encoder_args": {
                "audio_encoding_args": {
                    "sampling_rate": 16000, "frame_rate": 12.5, "num_mel_bins": sizes.mels, "hop_length": 160,
                    "window_size": 400, "chunk_length_s": None, "global_log_mel_max": 1.5,
                    "transcription_format": "streaming",
                },
                "dim": encoder["hidden_size"], "n_layers": encoder["num_hidden_layers"],
                "head_dim": encoder["head_dim"], "hidden_dim": encoder["intermediate_size"],
                "n_heads": encoder["num_attention_heads"], "n_kv_heads": encoder["num_attention_heads"],
                "use_biases": True, "rope_theta": sizes.theta, "causal": True, "norm_eps": 1e-5, "pos_embed": "rope",
                "ffn_type": "swiglu", "norm_type": "rms_norm", "sliding_window": encoder["sliding_window"],
                "max_source_positions": None,
            },
            "downsample_args": {"downsample_factor": 4},
        }},
    }  # fmt: skip


RENAMED = (
    ("language_model.model.embed_tokens.", "mm_streams_embeddings.embedding_module.tok_embeddings."),
    ("language_model.model.norm.", "norm."),
    ("language_model.model.layers.", "layers."),
    ("audio_tower.embedder.conv1.", "mm_streams_embeddings.embedding_module.whisper_encoder.conv_layers.0.conv."),
    ("audio_tower.embedder.conv2.", "mm_streams_embeddings.embedding_module.whisper_encoder.conv_layers.1.conv."),
    ("audio_tower.layers.", "mm_streams_embeddings.embedding_module.whisper_encoder.transformer.layers."),
    ("audio_tower.norm.", "mm_streams_embeddings.embedding_module.whisper_encoder.transformer.norm."),
    ("multi_modal_projector.linear_1.", "mm_streams_embeddings.embedding_module.audio_language_projection.0."),
    ("multi_modal_projector.linear_2.", "mm_streams_embeddings.embedding_module.audio_language_projection.2."),
    (".self_attn_layer_norm.", ".attention_norm."),
    (".final_layer_norm.", ".ffn_norm."),
    (".input_layernorm.", ".attention_norm."),
    (".post_attention_layernorm.", ".ffn_norm."),
    (".self_attn.q_proj.", ".attention.wq."),
    (".self_attn.k_proj.", ".attention.wk."),
    (".self_attn.v_proj.", ".attention.wv."),
    (".self_attn.o_proj.", ".attention.wo."),
    (".mlp.gate_proj.", ".feed_forward.w1."),
    (".mlp.up_proj.", ".feed_forward.w3."),
    (".mlp.down_proj.", ".feed_forward.w2."),
    (".ada_rms_norm.linear1.", ".ada_rms_norm_t_cond.0."),
    (".ada_rms_norm.linear2.", ".ada_rms_norm_t_cond.2."),
)  # fmt: skip


def consolidated(tensors: dict[str, Tensor], sizes: Sizes) -> Iterator[tuple[str, Tensor]]:
    """Names and rotary layout of the published consolidated file."""
    for original, tensor in tensors.items():
        if "lm_head" in original:
            continue
        name = original
        for old, new in RENAMED:
            name = name.replace(old, new)
        if "q_proj" in original or "k_proj" in original:
            head_dim = (sizes.encoder if "audio_tower" in original else sizes.decoder)["head_dim"]
            halves = tensor.reshape(-1, 2, head_dim // 2, *tensor.shape[1:])
            yield name, halves.transpose(1, 2).reshape(tensor.shape).contiguous()
        else:
            yield name, tensor
