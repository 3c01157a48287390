"""Voxtral Realtime models of three sizes with random weights, and the least time that a step of one can take."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch

from asr.voxtral.architecture import VoxtralArchitecture
from asr.voxtral.encoder import FRAMES
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.timing import START
from benchmarks.engines.roofline import Roofline, weights

# params.json of Voxtral-Mini-4B-Realtime-2602, what inference reads of it
RELEASED: Mapping[str, Any] = {
    "dim": 3072, "n_layers": 26, "head_dim": 128, "hidden_dim": 9216, "n_heads": 32, "n_kv_heads": 8,
    "use_biases": False, "rope_theta": 1e6, "norm_eps": 1e-5, "vocab_size": 131072, "tied_embeddings": True,
    "sliding_window": 8192, "ada_rms_norm_t_cond": True, "ada_rms_norm_t_cond_dim": 32,
    "multimodal": {"whisper_model_args": {
        "encoder_args": {
            "audio_encoding_args": {
                "sampling_rate": 16000, "frame_rate": 12.5, "num_mel_bins": 128, "hop_length": 160,
                "window_size": 400, "global_log_mel_max": 1.5,
            },
            "dim": 1280, "n_layers": 32, "head_dim": 64, "hidden_dim": 5120, "n_heads": 32, "n_kv_heads": 32,
            "use_biases": True, "rope_theta": 1e6, "causal": True, "norm_eps": 1e-5, "pos_embed": "rope",
            "ffn_type": "swiglu", "norm_type": "rms_norm", "sliding_window": 750,
        },
        "downsample_args": {"downsample_factor": FRAMES},
    }},
}  # fmt: skip


def scale_down(*, decoder: Mapping[str, int], encoder: Mapping[str, int], vocabulary: int) -> dict[str, Any]:
    """The released params.json with smaller networks; hidden layers keep their ratio."""
    params = deepcopy(dict(RELEASED))
    params |= {**decoder, "hidden_dim": 3 * decoder["dim"], "vocab_size": vocabulary}
    params["multimodal"]["whisper_model_args"]["encoder_args"] |= {
        **encoder, "n_kv_heads": encoder["n_heads"], "hidden_dim": 4 * encoder["dim"],
    }  # fmt: skip
    return params


MIDDLE = scale_down(
    decoder={"dim": 512, "n_layers": 6, "head_dim": 64, "n_heads": 12, "n_kv_heads": 3},
    encoder={"dim": 208, "n_layers": 8, "head_dim": 32, "n_heads": 10},
    vocabulary=4096,
)
TINY = scale_down(
    decoder={"dim": 64, "n_layers": 2, "head_dim": 16, "n_heads": 4, "n_kv_heads": 1},
    encoder={"dim": 32, "n_layers": 2, "head_dim": 16, "n_heads": 3},
    vocabulary=256,
)


def random_model(params: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> VoxtralRealtime:
    """A model of that size, made on the device."""
    return VoxtralRealtime.random(VoxtralArchitecture.from_params(params), device=device, dtype=dtype)


def step_floor_ms(gpu: Roofline, model: VoxtralRealtime, batch: int, context_s: float) -> float:
    """The least milliseconds of one step of `batch` streams that have heard so much audio.

    Weights and keys are read once.
    """
    config, item = model.config, model.dtype.itemsize
    steps = START + round(context_s * 12.5)
    read_bytes = weights(model) * item
    encoder_uses = weights(model.encoder) * FRAMES + weights(model.stem) * FRAMES + weights(model.adapter)
    flop = 2 * batch * (encoder_uses + weights(model.decoder))  # the token table is the head
    for shape, tokens, queries in ((config.encoder, steps * FRAMES, FRAMES), (config.decoder, steps, 1)):
        seen = min(tokens, shape.window or tokens)
        read_bytes += batch * 2 * shape.n_layers * shape.n_kv_heads * shape.head_dim * seen * item
        flop += batch * 4 * shape.n_layers * shape.n_heads * shape.head_dim * seen * queries
    return gpu.seconds(read_bytes, flop) * 1000
