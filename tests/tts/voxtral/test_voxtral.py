"""Loading the model: prompts as published, and every kind of trouble with a checkpoint named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llm.runtime.weights.checkpoint import CheckpointError, CheckpointIncomplete, TensorMismatch
from tts.interface import VoiceNotFound
from tts.voices import LANGUAGES, PRESETS, find_voice
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralConfig, VoxtralTTS
from tts.voxtral.prompt import PromptSpecialTokens, load_voice
from tts.voxtral.slots import SpeechSlots, Start

GOLDEN = Path(__file__).parents[2] / "data" / "voxtral-tts"
CPU = torch.device("cpu")


def load(folder: Path, dtype: torch.dtype = torch.float32) -> VoxtralTTS:
    return VoxtralTTS.load(folder, device=CPU, dtype=dtype)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "checkpoint"))


def test_a_prompt_is_laid_out_as_published() -> None:
    text = [42572, 1395, 1261, 15568, 5970, 1033]
    ids = PromptSpecialTokens().voice_part(147) + PromptSpecialTokens().text_part(text)
    assert ids == [1, 25, *[24] * 147, 36, *text, 35, 25]
    assert len(ids) == 158


def test_voice_rows_stand_for_the_audio_tokens() -> None:
    model = load(GOLDEN)
    ids = model.prompt_ids("fr_female", [50, 51])
    embedded = model.embed_prompt(ids, "fr_female")
    rows = load_voice(GOLDEN, "fr_female", 48)
    assert len(embedded) == len(ids) == model.prompt_tokens("fr_female", [50, 51])
    torch.testing.assert_close(embedded[2 : 2 + len(rows)], rows.float(), rtol=0, atol=0)
    table = model.backbone.tok_embeddings.weight
    torch.testing.assert_close(embedded[[0, 1, -3, -1]], table[[1, 25, 51, 25]], rtol=0, atol=0)


def test_twenty_voices_and_nine_languages() -> None:
    assert len(PRESETS) == 20
    assert {voice.language for voice in PRESETS} == set(LANGUAGES)
    assert find_voice("Casual_Male", PRESETS).language == "en"
    with pytest.raises(VoiceNotFound, match=r"no voice 'fr_femal'; the nearest are fr_female, "):
        find_voice("fr_femal", PRESETS)
    with pytest.raises(VoiceNotFound, match="casual_female, casual_male"):
        find_voice("???", PRESETS[:2])


def test_the_released_sizes_make_the_released_number_of_parameters() -> None:
    params = json.loads((GOLDEN / "params.json").read_text())
    real = {"dim": 3072, "n_layers": 26, "head_dim": 128, "hidden_dim": 9216, "n_heads": 32, "n_kv_heads": 8}
    params |= real | {"vocab_size": 131072}
    audio, codec = params["multimodal"]["audio_model_args"], params["multimodal"]["audio_tokenizer_args"]
    audio["semantic_codebook_size"] = 8192
    audio["acoustic_transformer_args"] |= real | {"input_dim": 3072, "n_layers": 3}
    codec |= {"semantic_codebook_size": 8192, "semantic_dim": 256, "dim": 1024, "hidden_dim": 4096}
    codec |= {"head_dim": 128, "n_heads": 8, "n_kv_heads": 8}

    model = VoxtralTTS(VoxtralConfig.from_params(params), None, torch.device("meta"), torch.bfloat16)

    speaking = sum(p.numel() for part in (model.backbone, model.embedding) for p in part.parameters())
    assert speaking == 3_026_353_152 + 402_653_184 + 27_918_336
    assert sum(p.numel() for p in model.flow.parameters()) == 393_851_904
    assert len({part.name for recipe in model.recipes().values() for part in recipe.parts}) == 386


def test_a_random_model_speaks_in_bfloat16() -> None:
    config = VoxtralConfig.from_params(json.loads((GOLDEN / "params.json").read_text()))
    model = VoxtralTTS.random(config, device=CPU, dtype=torch.bfloat16)
    slots = SpeechSlots(model, count=2, pages=100, page_tokens=4)
    batch = FrameBatch(slots, 2)
    slots.start([Start(0, config.voices[0], [50, 51, 52], seed=1), Start(1, config.voices[1], [53], seed=2)])
    for _ in range(3):
        batch.select([0, 1])
        batch.begin()
        for step in range(model.schedule.steps):
            batch.euler(step)
        for slot in (0, 1):
            slots.reserve(slot)
        batch.commit([0, 1])
        batch.decode()
        batch.advance()
        assert batch.finite.all()
        assert batch.samples.dtype == torch.float32
        assert batch.samples.abs().max() > 0


@pytest.mark.parametrize(
    "file", ["params.json", "consolidated.safetensors", "tekken.json", "voice_embedding/fr_female.pt"]
)
def test_a_missing_file_is_named(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(CheckpointIncomplete, match=file.replace(".", r"\.")):
        load(copy)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete, match="no checkpoint folder"):
        load(tmp_path / "nowhere")


def test_parameters_of_another_model_are_refused(copy: Path) -> None:
    for damage in ({"dim": None}, {"use_biases": True}, {"multimodal": {}}):
        params = json.loads((GOLDEN / "params.json").read_text()) | damage
        if damage.get("dim", 0) is None:
            del params["dim"]
        (copy / "params.json").write_text(json.dumps(params))
        with pytest.raises(CheckpointIncomplete, match="does not describe a Voxtral TTS model"):
            load(copy)


def test_tensors_of_another_model_are_refused(copy: Path) -> None:
    tensors = load_file(copy / "consolidated.safetensors")
    del tensors["layers.2.ffn_norm.weight"]
    tensors["layers.3.ffn_norm.weight"] = torch.ones(48)
    tensors["audio_tokenizer.encoder_blocks.0.layers.0.attention.wq.weight"] = torch.ones(2, 2)  # not ours to judge
    save_file(tensors, copy / "consolidated.safetensors")
    with pytest.raises(
        TensorMismatch, match=r"1 missing: layers\.2\.ffn_norm.*1 not of this model: layers\.3\.ffn_norm"
    ):
        load(copy)


def test_voice_files_are_checked_and_run_no_code(copy: Path) -> None:
    file = copy / "voice_embedding" / "fr_female.pt"
    torch.save(torch.zeros(6, 47), file)
    with pytest.raises(TensorMismatch, match=r"float32 \[6, 47\], wanted a float tensor \[rows, 48\]"):
        load(copy)
    torch.save(torch.zeros(5, 48), file)
    with pytest.raises(TensorMismatch, match=r"5 rows, tekken\.json says 6"):
        load(copy)
    torch.save(Path, file)  # a pickled reference to code
    with pytest.raises(CheckpointError, match=r"fr_female\.pt"):
        load(copy)
    file.write_bytes(b"not a tensor")
    with pytest.raises(CheckpointIncomplete, match="cannot be read"):
        load(copy)
