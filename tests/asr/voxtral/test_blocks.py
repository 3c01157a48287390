from itertools import product

import numpy as np

from asr.voxtral.blocks import AudioBlock, BlockCutter, TurnEnd, lead_with_silence
from asr.voxtral.timing import EXTRA_PAD, LOOK_AHEAD_SAMPLES, STEP_MS, STEP_SAMPLES

DELAY = 6


def cut(samples: np.ndarray, sizes: list[int]) -> list[AudioBlock | TurnEnd]:
    cutter = BlockCutter(DELAY)
    items: list[AudioBlock | TurnEnd] = []
    start = 0
    while start < len(samples):
        size = sizes[len(items) % len(sizes)]
        items += cutter.push(samples[start : start + size], 0.0)
        start += size
    return items + cutter.flush(1.0)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal(count).astype(np.float32)


def test_blocks_are_the_audio_between_silences() -> None:
    for count, sizes in product((1, 39, 40, 41, 1280, 5000, 6400), ([10**6], [320], [1, 999, 7], [1280])):
        check_blocks(count, sizes)


def check_blocks(count: int, sizes: list[int]) -> None:
    samples = noise(count)

    items = cut(samples, sizes)

    assert items[-1] == TurnEnd(0, count, 1.0)
    blocks = [item for item in items if isinstance(item, AudioBlock)]
    assert len(blocks) == len(items) - 1
    silence = STEP_SAMPLES - LOOK_AHEAD_SAMPLES
    heard = np.concatenate([block.samples for block in blocks])
    assert (heard[:silence] == 0).all()
    assert (heard[silence : silence + count] == samples).all()
    assert (heard[silence + count :] == 0).all()
    audio_steps = -(-count // STEP_SAMPLES)
    assert len(blocks) == 1 + audio_steps + DELAY + 1 + EXTRA_PAD
    assert [block.at_samples for block in blocks] == [(i - 1) * STEP_SAMPLES for i in range(len(blocks))]


def test_a_block_is_due_when_the_next_is_complete_and_a_flushed_one_at_once() -> None:
    cutter = BlockCutter(DELAY)
    (block,) = cutter.push(np.zeros(LOOK_AHEAD_SAMPLES, np.float32), now_s=7.0)
    assert block.due_s == 7.0 + STEP_MS / 1000
    assert {item.due_s for item in cutter.flush(now_s=9.0)} == {9.0}


def test_only_the_look_ahead_is_waited_for() -> None:
    cutter = BlockCutter(DELAY)
    samples = np.zeros(2 * STEP_SAMPLES + LOOK_AHEAD_SAMPLES, np.float32)
    assert len(cutter.push(samples[:-1], 0.0)) == 2
    assert len(cutter.push(samples[-1:], 0.0)) == 1


def test_turns_follow_each_other_and_an_empty_one_has_no_blocks() -> None:
    cutter = BlockCutter(DELAY)
    assert cutter.flush(0.0) == [TurnEnd(0, 0, 0.0)]
    cutter.push(noise(100), 0.0)
    cutter.flush(0.0)
    assert cutter.flush(0.0) == [TurnEnd(100, 100, 0.0)]
    second = cutter.push(noise(3000), 0.0) + cutter.flush(0.0)
    assert [item.at_samples for item in second if isinstance(item, AudioBlock)][:2] == [100 - STEP_SAMPLES, 100]
    assert second[-1] == TurnEnd(100, 3100, 0.0)


def test_the_caller_may_use_its_buffer_again() -> None:
    cutter = BlockCutter(DELAY)
    buffer = np.ones(STEP_SAMPLES, np.float32)
    (block,) = cutter.push(buffer, 0.0)
    buffer[:] = 5.0
    rest = cutter.flush(0.0)
    assert max(item.samples.max() for item in [block, *rest] if isinstance(item, AudioBlock)) == 1.0


def test_replayed_blocks_keep_their_place_behind_a_block_of_silence() -> None:
    blocks = [item for item in cut(noise(9000), [10**6]) if isinstance(item, AudioBlock)][3:6]
    again = lead_with_silence(blocks)
    assert again[1:] == blocks
    assert not again[0].samples.any()
    assert again[0].at_samples == blocks[0].at_samples - STEP_SAMPLES
