"""The batched frame step: rows do not notice each other, and a frame that is not kept changes nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from llm.runtime.backend import AttentionBackend
from llm.runtime.cache import CacheFull
from tts.voxtral.codebooks import END, SPECIALS
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import NOISE_FRAMES, SpeechSlots, Start

GOLDEN = Path(__file__).parents[2] / "data" / "voxtral-tts"
TEXTS = ("Hello, how are you today?", "Bonjour, ça va très bien!", "1234.")
VOICES = ("casual_male", "fr_female", "casual_male")

Frame = tuple[Tensor, Tensor]  # codes [K], samples [S]


@pytest.fixture(scope="module")
def model() -> VoxtralTTS:
    return VoxtralTTS.load(GOLDEN, device=torch.device("cpu"), dtype=torch.float32)


def slots_of(
    model: VoxtralTTS, count: int = 3, pages: int = 60, backend: AttentionBackend | None = None
) -> SpeechSlots:
    return SpeechSlots(model, count=count, pages=pages, page_tokens=4, max_tokens=200, attention_backend=backend)


def starting(model: VoxtralTTS, slot: int, which: int) -> Start:
    return Start(slot, VOICES[which], model.text_ids(TEXTS[which]), seed=which, guidance=1.2 + 0.3 * which)


def draw(batch: FrameBatch, selected: list[int]) -> None:
    batch.select(selected)
    batch.begin()
    for step in range(7):
        batch.euler(step)


def speak(slots: SpeechSlots, batch: FrameBatch, kept: list[int]) -> list[Frame]:
    for slot in kept:
        slots.reserve(slot)
    batch.commit(kept)
    batch.decode()
    batch.advance()
    return [(codes.clone(), samples.clone()) for codes, samples in zip(batch.codes, batch.samples, strict=True)]


def alone(model: VoxtralTTS, which: int, frames: int) -> list[Frame]:
    slots = slots_of(model, count=1)
    batch = FrameBatch(slots, 1)
    slots.start([starting(model, 0, which)])
    spoken: list[Frame] = []
    for _ in range(frames):
        draw(batch, [0])
        spoken += speak(slots, batch, [0])
    return spoken


def assert_same(found: list[Frame], expected: list[Frame]) -> None:
    assert [codes.tolist() for codes, _ in found] == [codes.tolist() for codes, _ in expected]
    torch.testing.assert_close(
        torch.cat([samples for _, samples in found]),
        torch.cat([samples for _, samples in expected]),
        atol=2e-5,
        rtol=0,
    )


@pytest.mark.parametrize("backend", ["segments", "gathered"])
def test_ragged_batch_with_joins_and_leaves_equals_alone(model: VoxtralTTS, backend: AttentionBackend) -> None:
    slots = slots_of(model, backend=backend)
    batch = FrameBatch(slots, 4)
    joins, frames, where = (0, 2, 5), (9, 12, 6), (2, 0, 1)
    found: list[list[Frame]] = [[], [], []]
    for tick in range(15):
        for which in range(3):
            if tick == joins[which]:
                slots.start([starting(model, where[which], which)])
            if tick == joins[which] + frames[which]:
                slots.free(where[which])
        speaking = [which for which in range(3) if joins[which] <= tick < joins[which] + frames[which]]
        speaking.sort(key=lambda which: (which + tick) % 3)  # an utterance's row may differ from step to step
        rows = [where[which] for which in speaking]
        draw(batch, rows)
        for which, frame in zip(speaking, speak(slots, batch, rows), strict=False):
            found[which].append(frame)

    for which in range(3):
        assert_same(found[which], alone(model, which, frames[which]))


def test_a_dropped_frame_is_drawn_again_the_same(model: VoxtralTTS) -> None:
    slots = slots_of(model)
    batch = FrameBatch(slots, 2)
    slots.start([starting(model, 0, 0), starting(model, 1, 1)])
    found: list[Frame] = []
    other: list[Frame] = []
    for tick in range(12):
        draw(batch, [0, 1])
        first, second = speak(slots, batch, [0] if tick % 3 else [1, 0])
        found.append(first)
        if tick % 3 == 0:
            other.append(second)
    assert slots.spoken_frames(0) == 12
    assert slots.spoken_frames(1) == 4

    assert_same(found, alone(model, 0, 12))
    assert_same(other, alone(model, 1, 4))


def test_other_rows_are_the_same_to_the_bit_when_one_leaves(model: VoxtralTTS) -> None:
    def run(leaves_at: int) -> Tensor:
        slots = slots_of(model)
        batch = FrameBatch(slots, 3)
        slots.start([starting(model, slot, slot) for slot in range(3)])
        heard: list[Tensor] = []
        for tick in range(8):
            if tick == leaves_at:
                slots.free(1)
            rows = [0, 2] if tick >= leaves_at else [0, 1, 2]
            draw(batch, rows)
            spoken = speak(slots, batch, rows)
            heard += [spoken[0][1], spoken[rows.index(2)][1]]
        return torch.cat(heard)

    assert torch.equal(run(leaves_at=3), run(leaves_at=99))


def test_noise_goes_on_past_a_block(model: VoxtralTTS) -> None:
    slots = slots_of(model, count=1)
    batch = FrameBatch(slots, 1)
    slots.start([starting(model, 0, 0)])
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.randn(NOISE_FRAMES, 36, generator=generator) for _ in range(2)]
    for frame in range(NOISE_FRAMES + 2):
        batch.select([0])
        batch.begin()
        torch.testing.assert_close(batch.latent[0], blocks[frame // NOISE_FRAMES][frame % NOISE_FRAMES], rtol=0, atol=0)
        speak(slots, batch, [0])


def test_a_row_that_fails_spoils_neither_the_others_nor_its_successor(model: VoxtralTTS) -> None:
    slots = slots_of(model, count=2, pages=40)
    batch = FrameBatch(slots, 2)
    slots.start([starting(model, 0, 0), starting(model, 1, 1)])
    found: list[Frame] = []
    for tick in range(6):
        if tick == 2:
            slots.hidden[1] = float("nan")
            slots.cache.values[:, slots.cache.tables[1, 1]] = float("nan")
        draw(batch, [0, 1])
        found.append(speak(slots, batch, [0, 1])[0])
        assert batch.finite.tolist() == [True, tick < 2]
        assert batch.samples[0].isfinite().all()
    assert_same(found, alone(model, 0, 6))

    slots.free(1)
    slots.start([starting(model, 1, 2)])
    again: list[Frame] = []
    for _ in range(6):
        draw(batch, [1])
        again.append(speak(slots, batch, [1])[0])
        assert batch.finite.all()
    assert_same(again, alone(model, 2, 6))


def test_voices_are_run_once_and_pages_come_back(model: VoxtralTTS) -> None:
    slots = slots_of(model)
    slots.warm("casual_male", 0)
    resident = slots.free_pages
    slots.warm("casual_male", 0)
    assert slots.free_pages == resident == 60 - 3  # 12 tokens
    expected = sum(slots.pages_for(VOICES[which], len(model.text_ids(TEXTS[which])), 0) for which in (0, 2))

    slots.start([starting(model, 0, 0), starting(model, 1, 2)])

    assert slots.free_pages == resident - expected
    assert slots.tokens(0) == model.prompt_tokens(VOICES[0], model.text_ids(TEXTS[0]))
    for slot in (0, 0, 1):
        slots.free(slot)
    assert slots.free_pages == resident


def test_without_room_nobody_begins(model: VoxtralTTS) -> None:
    slots = slots_of(model, pages=12)
    with pytest.raises(CacheFull):
        slots.start([starting(model, 0, 0), starting(model, 1, 1)])
    slots.start([starting(model, 0, 0)])  # both slots are still free, and so are the pages
    slots.free(0)
    slots.start([starting(model, 1, 2)])
    with pytest.raises(CacheFull, match="a stream may hold 200"):
        slots.cache.grow(1, 201)


def test_an_end_frame_is_flagged_and_disturbs_nobody(model: VoxtralTTS) -> None:
    slots = slots_of(model, count=2)
    batch = FrameBatch(slots, 2)
    slots.start([starting(model, 0, 0), starting(model, 1, 1)])
    slots.hidden[1] = load_file(GOLDEN / "cases.safetensors")["fm.llm_hidden"][4]

    draw(batch, [0, 1])
    found, ending = speak(slots, batch, [0, 1])

    assert batch.ended.tolist() == [False, True]
    assert ending[0].tolist() == [END] + [SPECIALS] * 36
    assert_same([found], alone(model, 0, 1))
