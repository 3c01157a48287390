import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from llm.runtime.weights.checkpoint import Checkpoint
from llm.runtime.weights.loading import load_parameters
from tts.voxtral.codebooks import END
from tts.voxtral.codec import CodecConfig, CodecDecoder
from tts.voxtral.codec_layers import alibi_slopes

GOLDEN = Path(__file__).parents[2] / "data" / "voxtral-tts"
WAVE_TOLERANCE = 2e-5  # README.md of the golden set
BLOCK_TOLERANCE = 1e-4
SAME = 2e-6  # float32, other shapes of the same products
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def params() -> dict:
    return json.loads((GOLDEN / "params.json").read_text())["multimodal"]["audio_tokenizer_args"]


@pytest.fixture(scope="module")
def cases() -> dict[str, Tensor]:
    return load_file(GOLDEN / "cases.safetensors")


@pytest.fixture(scope="module")
def codec(params: dict) -> CodecDecoder:
    torch.set_num_threads(1)
    codec = CodecDecoder(CodecConfig.from_params(params), device=torch.device("meta"), dtype=torch.float32)
    with Checkpoint(GOLDEN, head_dim=8) as checkpoint:
        others = [name for name in checkpoint if not name.startswith("audio_tokenizer.")]
        load_parameters(codec, codec.recipes(), checkpoint, device=CPU, dtype=torch.float32, ignored=others)
    return codec


def stream(codec: CodecDecoder, codes: Tensor, chunk_frames: int) -> Tensor:
    state = codec.start(slots=3)
    slots = torch.tensor([1])
    parts = codes.unsqueeze(0).split(chunk_frames, dim=1)
    return torch.cat([codec.stream(part, state, slots)[0] for part in parts])


def test_every_block_equals_the_reference(codec: CodecDecoder, cases: dict[str, Tensor]) -> None:
    seen = []
    for name, found in codec.trace(cases["codec.frames"]):
        tolerance = WAVE_TOLERANCE if name == "codec.wave" else BLOCK_TOLERANCE
        torch.testing.assert_close(found, cases[name], atol=tolerance, rtol=0)
        seen.append(name)
    assert seen == ["codec.latent", *(f"codec.block{i}" for i in range(8)), "codec.wave"]


@pytest.mark.parametrize(
    ("codes", "wave"),
    [("codec.frames_end", "codec.wave_end"), ("e2e.codes", "e2e.wave"), ("e2e_end.codes", "e2e_end.wave")],
)
def test_whole_utterances_equal_the_reference(
    codec: CodecDecoder, cases: dict[str, Tensor], codes: str, wave: str
) -> None:
    torch.testing.assert_close(codec.decode(cases[codes]), cases[wave], atol=WAVE_TOLERANCE, rtol=0)


def test_one_frame_equals_the_reference(codec: CodecDecoder, cases: dict[str, Tensor]) -> None:
    state = codec.start(slots=1)
    found = codec.step(cases["codec.frames"][:1], state, torch.tensor([0]))
    torch.testing.assert_close(found[0], cases["codec.wave_one"], atol=WAVE_TOLERANCE, rtol=0)


def test_nothing_before_an_end_in_the_first_frame(codec: CodecDecoder, cases: dict[str, Tensor]) -> None:
    codes = cases["codec.frames"][:3].clone()
    codes[0, 0] = END
    assert codec.decode(codes).shape == (0,)


@pytest.mark.parametrize("chunk_frames", [1, 2, 5, 40])
def test_streamed_equals_whole(codec: CodecDecoder, cases: dict[str, Tensor], chunk_frames: int) -> None:
    streamed = stream(codec, cases["codec.frames"], chunk_frames)
    torch.testing.assert_close(streamed, codec.decode(cases["codec.frames"]), atol=SAME, rtol=0)


def test_ragged_joins_and_leaves_equal_alone(codec: CodecDecoder, cases: dict[str, Tensor]) -> None:
    """Five streams on three slots, each joining when a slot is free and leaving at its own end."""
    frames = cases["codec.frames"]
    streams = [frames[3:20], frames[7:9], frames[20:33], frames[33:], frames[:12]]
    alone = [codec.decode(codes) for codes in streams]
    state = codec.start(slots=4)
    waiting = list(range(len(streams)))
    speaking: dict[int, int] = {}  # slot -> stream
    done = [0] * len(streams)
    spoken: list[list[Tensor]] = [[] for _ in streams]
    while waiting or speaking:
        for slot in range(3):
            if slot not in speaking and waiting:
                speaking[slot] = waiting.pop(0)
                state.reset(torch.tensor([slot]))
        slots = list(speaking)
        codes = torch.stack([streams[s][done[s]] for s in speaking.values()])
        padded = torch.cat((codes, codes[:1]))  # a row of padding on the idle slot
        samples = codec.step(padded, state, torch.tensor([*slots, 3]))
        for slot, row in zip(slots, samples, strict=False):
            which = speaking[slot]
            spoken[which].append(row)
            done[which] += 1
            if done[which] == len(streams[which]):
                del speaking[slot]
    for parts, whole in zip(spoken, alone, strict=True):
        torch.testing.assert_close(torch.cat(parts), whole, atol=SAME, rtol=0)


def test_reset_clears_what_a_failed_stream_left(codec: CodecDecoder, cases: dict[str, Tensor]) -> None:
    state = codec.start(slots=1)
    state.tails.fill_(float("nan"))
    state.frames.fill_(9)
    slot = torch.tensor([0])
    state.reset(slot)
    torch.testing.assert_close(codec.step(cases["codec.frames"][:1], state, slot)[0], cases["codec.wave_one"])


def test_state_of_a_released_stream_is_265_kilobytes() -> None:
    released = CodecConfig(
        sample_rate_hz=24000, patch_samples=240, patch_kernel=7, semantic_codes=8192, semantic_width=256,
        acoustic_levels=21, acoustic_codebooks=36, width=1024, hidden=4096, heads=8, head_width=128, norm_eps=0.01,
        qk_norm_eps=1e-6, layers=(2, 2, 2, 2), kernels=(3, 4, 4, 4), strides=(1, 2, 2, 2), windows=(2, 4, 8, 16),
    )  # fmt: skip
    codec = CodecDecoder(released, device=torch.device("meta"), dtype=torch.bfloat16)
    tails = codec.start(slots=1).tails
    assert tails.numel() * tails.itemsize == 1_168 + 245_760 + 6_144 + 12_288
    assert sum(parameter.numel() for parameter in codec.parameters()) == 151_576_816 - 8_192 - 1024 * 4 - 240


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (8, [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128]),
        (4, [1, 1 / 4, 1 / 16, 1 / 64]),
        (6, [1, 1 / 4, 1 / 16, 1 / 64, 1, 1 / 4]),
    ],
)
def test_alibi_slopes_begin_at_one(heads: int, slopes: list[float]) -> None:
    assert alibi_slopes(heads).tolist() == slopes


def test_windows_derive_from_the_encoder(params: dict) -> None:
    assert CodecConfig.from_params(params).windows == (2, 4, 8, 16)
    assert CodecConfig.from_params({**params, "half_attn_window_upon_downsampling": False}).windows == (16,) * 4
    assert CodecConfig.from_params({**params, "encoder_convs_strides_str": "2,2,1,1"}).windows == (4, 8, 16, 32)


def test_a_setting_that_is_not_implemented_is_named(params: dict) -> None:
    with pytest.raises(ValueError, match="qk_norm must be True"):
        CodecConfig.from_params({**params, "qk_norm": False})
