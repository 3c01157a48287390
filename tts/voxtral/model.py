"""Voxtral TTS whole: decoder, acoustic head, code embedding, codec, voices and tokenizer, loaded from one folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from llm.runtime.architecture import DecoderConfig
from llm.runtime.decoder import Decoder
from llm.runtime.tokenizer import Tekken
from llm.runtime.weights.checkpoint import Checkpoint, CheckpointIncomplete, TensorMismatch, read_json
from llm.runtime.weights.loading import Recipe, load_parameters, nest
from tts.interface import Voice
from tts.voices import PRESETS, voice_of
from tts.voxtral.codebooks import Codebooks, CodeEmbedding
from tts.voxtral.codec import CodecConfig, CodecDecoder
from tts.voxtral.euler import Schedule
from tts.voxtral.flow import FlowConfig, FlowHead
from tts.voxtral.prompt import PromptSpecialTokens, load_voice

TEXT_EMBEDDING = "mm_audio_embeddings.tok_embeddings.weight"
UNUSED = (  # parts of other releases that speaking does not need
    "audio_tokenizer.encoder_blocks.",
    "audio_tokenizer.input_proj.",
    "acoustic_transformer.time_embedding.",
)
RANDOM_VOICE_ROWS = 125  # 10 s


@dataclass(frozen=True, slots=True)
class VoxtralConfig:
    """Everything that `params.json` says and speaking needs."""

    backbone: DecoderConfig
    flow: FlowConfig
    codebooks: Codebooks
    codec: CodecConfig
    voices: tuple[str, ...]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "VoxtralConfig":
        """From a whole params.json. Raises KeyError and ValueError as its parts do."""
        audio = params["multimodal"]["audio_model_args"]
        codec = params["multimodal"]["audio_tokenizer_args"]
        return cls(
            backbone=DecoderConfig.from_params(params, head="none"),
            flow=FlowConfig.from_params(audio["acoustic_transformer_args"]),
            codebooks=Codebooks.from_params(audio),
            codec=CodecConfig.from_params(codec),
            voices=tuple(codec["voice"]),
        )


class VoxtralTTS(nn.Module):
    """The model on one device. It holds no state of any utterance: see `tts.voxtral.slots`."""

    schedule: Schedule

    def __init__(
        self, config: VoxtralConfig, tokenizer: Tekken | None, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Uninitialized; without voices and schedule. Use `load` or `random`."""
        super().__init__()
        self.config = config
        self.backbone = Decoder(config.backbone, device, dtype)
        self.flow = FlowHead(config.flow, config.codebooks, device, dtype)
        self.embedding = CodeEmbedding(config.codebooks, config.backbone.dim, device, dtype)
        self.codec = CodecDecoder(config.codec, device=device, dtype=dtype)
        self.special_tokens = PromptSpecialTokens() if tokenizer is None else PromptSpecialTokens.of(tokenizer)
        self._tokenizer = tokenizer
        self._voice_rows: dict[str, Tensor] = {}

    @classmethod
    @torch.inference_mode()
    def load(cls, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Self:
        """The released checkpoint as published: params.json, consolidated.safetensors, tekken.json, voice_embedding/.

        Raises:
            CheckpointError: something is missing, does not fit, or does not fit into memory.
        """
        params = read_json(folder, "params.json")
        try:
            config = VoxtralConfig.from_params(params)
        except (KeyError, ValueError) as error:
            raise CheckpointIncomplete(
                f"{folder / 'params.json'} does not describe a Voxtral TTS model ({error!r}); download it again"
            ) from None
        tokenizer = Tekken.load(folder)
        model = cls(config, tokenizer, torch.device("meta"), dtype)
        for name in config.voices:
            model._add_voice(name, load_voice(folder, name, config.backbone.dim).to(device=device, dtype=dtype))
        with Checkpoint(folder, config.backbone.head_dim) as checkpoint:
            load_parameters(model, model.recipes(), checkpoint, device=device, dtype=dtype, ignored=UNUSED)
        model.schedule = Schedule.of(model.flow, config.flow.euler_steps)
        return model

    @classmethod
    @torch.inference_mode()
    def random(cls, config: VoxtralConfig, *, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Self:
        """A model of that size with random weights, made on the device: for measuring. It takes text as ids only."""
        model = cls(config, None, device, dtype)
        generator = torch.Generator(device).manual_seed(seed)
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            else:
                parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=generator)
        for name in config.voices:
            rows = torch.empty((RANDOM_VOICE_ROWS, config.backbone.dim), device=device, dtype=dtype)
            model._add_voice(name, rows.normal_(std=0.02, generator=generator))
        model.schedule = Schedule.of(model.flow, config.flow.euler_steps)
        return model

    def recipes(self) -> dict[str, Recipe]:
        """Where the parameters come from: every tensor of the released file."""
        return (
            nest("backbone", self.backbone.recipes(TEXT_EMBEDDING))
            | nest("flow", self.flow.recipes())
            | nest("embedding", self.embedding.recipes())
            | nest("codec", self.codec.recipes())
        )

    def _add_voice(self, name: str, rows: Tensor) -> None:
        audio: Mapping[str, Any] = {} if self._tokenizer is None else self._tokenizer.content.get("audio", {})
        expected = audio.get("voice_num_audio_tokens", {}).get(name, len(rows))
        if expected != len(rows):
            raise TensorMismatch(f"voice {name} has {len(rows)} rows, tekken.json says {expected}; download it again")
        self._voice_rows[name] = rows

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The voices of this checkpoint."""
        known = {voice.name: voice for voice in PRESETS}
        return tuple(known.get(name) or voice_of(name) for name in self.config.voices)

    def text_ids(self, text: str) -> list[int]:
        """Ids of the text to speak."""
        assert self._tokenizer is not None, "a random model takes text as ids only"
        return self._tokenizer.encode(text)

    def voice_part(self, voice: str) -> list[int]:
        """Ids of the prompt's shared beginning, up to the text."""
        return self.special_tokens.voice_part(len(self._voice_rows[voice]))

    def prompt_ids(self, voice: str, text_ids: Sequence[int]) -> list[int]:
        """Ids of the whole prompt."""
        return self.voice_part(voice) + self.special_tokens.text_part(text_ids)

    def prompt_tokens(self, voice: str, text_ids: Sequence[int]) -> int:
        """Length of the whole prompt."""
        return len(self.prompt_ids(voice, text_ids))

    @torch.inference_mode()
    def embed_prompt(self, ids: Sequence[int], voice: str) -> Tensor:
        """Embeddings [P, D] of prompt ids, whole or in part, with the voice's rows in place of [AUDIO]."""
        index = torch.tensor(ids, device=self.schedule.tokens.device)
        embedded = self.backbone.embed(index)
        audio = torch.tensor(
            [at for at, token in enumerate(ids) if token == self.special_tokens.audio], device=index.device
        )
        if len(audio):
            embedded.index_copy_(0, audio, self._voice_rows[voice])
        return embedded
