"""The shape of a Voxtral Realtime model, read from either kind of checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr.interface import SAMPLE_RATE_HZ
from asr.voxtral.encoder import FRAMES, encoder_config
from asr.voxtral.mel import LARGEST_LOG
from asr.voxtral.timing import HOP_SAMPLES, START, STEP_MS, WINDOW_SAMPLES
from llm.runtime.architecture import DecoderConfig
from llm.runtime.tokenizer import Tekken


@dataclass(frozen=True, slots=True)
class StreamingSpecialTokens:
    """Ids of the special tokens."""

    bos: int = 1
    eos: int = 2
    blank: int = 32  # no text in this step
    word: int = 33  # a word or group of words begins

    @classmethod
    def of(cls, tokenizer: Tekken) -> "StreamingSpecialTokens":
        """By name, because other models give other meanings to the same ids."""
        return cls(
            bos=tokenizer.special("<s>"),
            eos=tokenizer.special("</s>"),
            blank=tokenizer.special("[STREAMING_PAD]"),
            word=tokenizer.special("[STREAMING_WORD]"),
        )


@dataclass(frozen=True, slots=True)
class VoxtralArchitecture:
    """Everything that a checkpoint says and listening needs."""

    encoder: DecoderConfig
    decoder: DecoderConfig
    mels: int

    def __post_init__(self) -> None:
        for part, config, least in (("encoder", self.encoder, START * FRAMES), ("decoder", self.decoder, START)):
            if config.window is None or config.window < least:
                raise ValueError(f"the {part} needs a sliding window of {least} or more, not {config.window}")
        if self.decoder.ada_norm_dim is None:
            raise ValueError("the decoder takes no delay (ada_rms_norm_t_cond); this is not a realtime model")

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "VoxtralArchitecture":
        """From a whole `params.json`.

        Raises:
            KeyError: something is missing.
            ValueError: something is not as in Voxtral Realtime.
        """
        whisper = params["multimodal"]["whisper_model_args"]
        audio = whisper["encoder_args"]["audio_encoding_args"]
        wanted = {
            "sampling_rate": SAMPLE_RATE_HZ,
            "frame_rate": 1000 / STEP_MS,
            "hop_length": HOP_SAMPLES,
            "window_size": WINDOW_SAMPLES,
            "global_log_mel_max": LARGEST_LOG,
        }
        for key, value in wanted.items():
            if audio[key] != value:
                raise ValueError(f"audio_encoding_args.{key} must be {value}, params.json says {audio[key]}")
        if whisper["downsample_args"]["downsample_factor"] != FRAMES:
            raise ValueError(f"downsample_factor must be {FRAMES}")
        return cls(
            encoder=encoder_config(whisper["encoder_args"]),
            decoder=DecoderConfig.from_params(params),
            mels=audio["num_mel_bins"],
        )

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> "VoxtralArchitecture":
        """From a whole `config.json` of type voxtral_realtime. Raises as `from_params` does."""
        if config["model_type"] != "voxtral_realtime":
            raise ValueError(f"model_type must be voxtral_realtime, config.json says {config['model_type']}")
        if config.get("downsample_factor", FRAMES) != FRAMES:
            raise ValueError(f"downsample_factor must be {FRAMES}")
        audio = config["audio_config"]
        rope = audio.get("rope_parameters") or audio
        encoder = DecoderConfig(
            dim=audio["hidden_size"],
            n_layers=audio["num_hidden_layers"],
            n_heads=audio["num_attention_heads"],
            n_kv_heads=audio["num_attention_heads"],
            head_dim=audio["head_dim"],
            hidden_dim=audio["intermediate_size"],
            vocab_size=0,
            rope_theta=rope["rope_theta"],
            norm_eps=audio["rms_norm_eps"],
            head="none",
            window=audio["sliding_window"],
        )
        return cls(encoder, DecoderConfig.from_hugging_face(config["text_config"]), audio["num_mel_bins"])
