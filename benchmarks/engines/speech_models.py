"""Voxtral TTS models of three sizes with random weights, and the least time that a frame of one can take."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch

from benchmarks.engines.roofline import Roofline, weights
from tts.voxtral.codebooks import END
from tts.voxtral.codec import CodecDecoder
from tts.voxtral.model import VoxtralConfig, VoxtralTTS

# params.json of Voxtral-4B-TTS-2603, what inference reads of it; one voice, of 10 s
RELEASED: Mapping[str, Any] = {
    "dim": 3072, "n_layers": 26, "head_dim": 128, "hidden_dim": 9216, "n_heads": 32, "n_kv_heads": 8,
    "use_biases": False, "rope_theta": 1e6, "norm_eps": 1e-5, "vocab_size": 131072, "tied_embeddings": True,
    "multimodal": {
        "audio_model_args": {
            "semantic_codebook_size": 8192, "acoustic_codebook_size": 21, "n_acoustic_codebook": 36,
            "acoustic_transformer_args": {
                "input_dim": 3072, "dim": 3072, "n_layers": 3, "head_dim": 128, "hidden_dim": 9216,
                "n_heads": 32, "n_kv_heads": 8, "use_biases": False,
            },
        },
        "audio_tokenizer_args": {
            "channels": 1, "sampling_rate": 24000, "pretransform_patch_size": 240, "patch_proj_kernel_size": 7,
            "semantic_codebook_size": 8192, "semantic_dim": 256, "acoustic_codebook_size": 21, "acoustic_dim": 36,
            "conv_weight_norm": True, "causal": True, "attn_sliding_window_size": 16,
            "half_attn_window_upon_downsampling": True, "dim": 1024, "hidden_dim": 4096, "head_dim": 128,
            "n_heads": 8, "n_kv_heads": 8, "qk_norm_eps": 1e-6, "qk_norm": True, "use_biases": False,
            "norm_eps": 0.01, "layer_scale": True, "decoder_transformer_lengths_str": "2,2,2,2",
            "decoder_convs_kernels_str": "3,4,4,4", "decoder_convs_strides_str": "1,2,2,2",
            "voice": {"neutral_female": 0},
        },
    },
}  # fmt: skip
VOICE = "neutral_female"


def scale_down(*, dim: int, layers: int, heads: int, kv_heads: int, head_dim: int, codec_dim: int) -> dict[str, Any]:
    """The released params.json with smaller networks; hidden layers keep their ratio."""
    params = deepcopy(dict(RELEASED))
    sizes = {"dim": dim, "head_dim": head_dim, "hidden_dim": 3 * dim, "n_heads": heads, "n_kv_heads": kv_heads}
    params |= {**sizes, "n_layers": layers, "vocab_size": 4096}
    params["multimodal"]["audio_model_args"]["acoustic_transformer_args"] |= {**sizes, "input_dim": dim}
    codec_heads = codec_dim // head_dim
    params["multimodal"]["audio_tokenizer_args"] |= {
        "dim": codec_dim, "hidden_dim": 4 * codec_dim, "head_dim": head_dim,
        "n_heads": codec_heads, "n_kv_heads": codec_heads,
    }  # fmt: skip
    return params


MIDDLE = scale_down(dim=512, layers=6, heads=8, kv_heads=2, head_dim=64, codec_dim=256)
TINY = scale_down(dim=64, layers=2, heads=4, kv_heads=1, head_dim=16, codec_dim=64)


def random_model(params: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> VoxtralTTS:
    """A model of that size, made on the device, that never ends an utterance by itself."""
    model = VoxtralTTS.random(VoxtralConfig.from_params(params), device=device, dtype=dtype)
    with torch.inference_mode():
        model.flow.semantic_codebook_output.weight[END] = 0  # among thousands of random scores, 0 is never the highest
    return model


def frame_floor_ms(gpu: Roofline, model: VoxtralTTS, batch: int, context_tokens: int) -> float:
    """The least milliseconds of one frame of `batch` utterances with that many tokens in the cache each.

    Each evaluation of a network reads its weights once.
    """
    item, shape = model.schedule.tokens.itemsize, model.config.backbone
    backbone, readout = weights(model.backbone.layers), weights(model.flow.readout)
    two_thirds = weights(model.flow.readout.wkv) * 2  # of three tokens the last layer reads one, but all keys
    per_context = 2 * shape.n_layers * shape.head_dim * context_tokens
    seconds = (
        gpu.seconds(
            backbone * item + batch * per_context * shape.n_kv_heads * item,
            batch * 2 * (backbone + per_context * shape.n_heads),
        )
        + model.config.flow.euler_steps
        * gpu.seconds(
            (weights(model.flow.layers) + readout) * item,
            batch * 2 * 2 * (3 * weights(model.flow.layers) + readout + two_thirds),  # with and without guidance
        )
        + gpu.seconds(weights(model.codec) * item, batch * 2 * codec_uses(model.codec))
    )
    return seconds * 1000


def codec_uses(codec: CodecDecoder) -> int:
    """Multiplications of one frame: a block uses its weights once for every position that it is given."""
    uses, positions = 0, 1
    for block in codec.decoder_blocks:
        uses += positions * weights(block)
        positions *= getattr(block, "stride", 1)
    return uses + positions * weights(codec.output_proj)
