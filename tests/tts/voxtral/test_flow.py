"""The acoustic head in small pieces; its numbers are the golden set's business."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tts.voxtral.codebooks import END, Codebooks
from tts.voxtral.euler import Schedule, euler_step, guide
from tts.voxtral.flow import FlowConfig
from tts.voxtral.model import VoxtralTTS

GOLDEN = Path(__file__).parents[2] / "data" / "voxtral-tts"


@pytest.fixture(scope="module")
def model() -> VoxtralTTS:
    return VoxtralTTS.load(GOLDEN, device=torch.device("cpu"), dtype=torch.float32)


def test_rows_do_not_depend_on_each_other(model: VoxtralTTS) -> None:
    torch.manual_seed(0)
    hidden, latent, guidance = torch.randn(5, 48), torch.randn(5, 36), torch.rand(5, 1) + 1
    condition = model.flow.condition(hidden)
    together = euler_step(model.flow, model.schedule, 3, latent, condition, guidance)
    for row in range(5):
        one = slice(row, row + 1)
        alone = euler_step(model.flow, model.schedule, 3, latent[one], condition[:, one], guidance[one])
        torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=1e-5)


def test_guidance_of_one_is_unguided_and_more_goes_further() -> None:
    velocities = torch.tensor([[[3.0]], [[1.0]]])
    assert [guide(velocities, torch.tensor([[weight]])).item() for weight in (0.0, 1.0, 2.0)] == [1.0, 3.0, 5.0]


def test_the_unguided_branch_does_not_see_the_hidden_state(model: VoxtralTTS) -> None:
    torch.manual_seed(0)
    latent = torch.randn(2, 36)
    first, second = (
        model.flow.velocity(latent, model.schedule.tokens[0], model.flow.condition(torch.randn(2, 48)))
        for _ in range(2)
    )
    torch.testing.assert_close(first[1], second[1], atol=1e-6, rtol=0)
    assert (first[0] - second[0]).abs().max() > 1e-2


def test_semantic_codes_may_be_end_but_not_empty_or_padding(model: VoxtralTTS) -> None:
    hidden = load_file(GOLDEN / "cases.safetensors")["fm.llm_hidden"]
    logits = model.flow.semantic_logits(hidden)
    raw = logits.argmax(dim=-1)
    assert raw[5] == 0
    assert raw[6] >= 152
    semantic = model.flow.semantic(hidden)
    assert semantic[4] == END
    assert ((semantic > 0) & (semantic < 152)).all()


def test_levels_round_half_to_even_and_clamp() -> None:
    codebooks = Codebooks(semantic=150, acoustic_levels=5, acoustic=6)
    latent = torch.tensor([[-7.0, -0.75, -0.25, 0.25, 0.75, 1.2]]).repeat(2, 1)  # levels -12, 0.5, 1.5, 2.5, 3.5, 4.4
    frames = codebooks.frame(torch.tensor([77, END]), latent)
    assert frames[0].tolist() == [77, 2, 2, 4, 4, 6, 6]
    assert frames[1].tolist() == [END, 2, 2, 2, 2, 2, 2]


def test_real_sizes_of_the_code_space() -> None:
    real = Codebooks.from_params(
        {"semantic_codebook_size": 8192, "acoustic_codebook_size": 21, "n_acoustic_codebook": 36}
    )
    assert real == Codebooks.from_params({"codebook_sizes": "8192," + ",".join(["21"] * 36)})
    assert (real.table_rows, real.offsets[1], real.offsets[36], real.count) == (9088, 8194, 8194 + 23 * 35, 37)
    with pytest.raises(ValueError, match="one size"):
        Codebooks.from_params({"codebook_sizes": "8192,21,22"})


def test_euler_steps_come_from_the_configuration(model: VoxtralTTS) -> None:
    sizes = {"dim": 48, "n_layers": 3, "n_heads": 8, "n_kv_heads": 2, "head_dim": 8, "hidden_dim": 144, "input_dim": 48}
    assert FlowConfig.from_params(sizes).euler_steps == 7
    assert FlowConfig.from_params(sizes | {"n_decoding_steps": 4}).euler_steps == 4
    assert Schedule.of(model.flow, 4).times == (0.0, 0.25, 0.5, 0.75, 1.0)
    with pytest.raises(ValueError, match="no biases"):
        FlowConfig.from_params(sizes | {"use_biases": True})
