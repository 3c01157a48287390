from itertools import product

import numpy as np

from tts.chunks import ChunkCutter, SpeakingRate

RATE = 24000
FRAME = 1920


def test_samples_are_whole_and_spans_join_and_end_with_the_text() -> None:
    for text, frames, expected_frames in product(("a", "hello there, you"), (1, 2, 7, 20), (1, 3, 7, 50)):
        check_chunks(text, frames, expected_frames)


def check_chunks(text: str, frames: int, expected_frames: int) -> None:
    whole = np.random.default_rng(0).uniform(-1, 1, frames * FRAME).astype(np.float32)
    cutter = ChunkCutter(text, expected_frames, RATE)
    chunks = [cutter.add(frame) for frame in whole.reshape(frames, FRAME)]
    chunks.append(cutter.last())
    np.testing.assert_array_equal(np.concatenate([chunk.samples for chunk in chunks]), whole)
    assert all(len(chunk.samples) for chunk in chunks)
    edges = [chunk.text_start for chunk in chunks] + [chunks[-1].text_end]
    assert edges == [0] + [chunk.text_end for chunk in chunks]
    assert edges == sorted(edges)
    assert edges[-1] == len(text)
    assert all(chunk.text_end < len(text) for chunk in chunks[:-1])  # only the last chunk ends the text


def test_samples_are_clipped() -> None:
    cutter = ChunkCutter("x", 1, RATE)
    loud = np.linspace(-3, 3, FRAME, dtype=np.float32)
    samples = np.concatenate([cutter.add(loud).samples, cutter.last().samples])
    np.testing.assert_array_equal(samples, loud.clip(-1, 1))


def test_spans_follow_the_share_of_time() -> None:
    cutter = ChunkCutter("x" * 100, expected_frames=10, sample_rate_hz=RATE)
    ends = [cutter.add(np.zeros(FRAME, np.float32)).text_end for _ in range(12)]
    assert ends[:9] == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert ends[8:] == [90, 90, 91, 92]  # later than expected: creep on


def test_the_rate_is_learned() -> None:
    rate = SpeakingRate()
    assert rate.frames(120) == 100
    for _ in range(50):
        rate.learn(characters=120, frames=60)
    assert rate.frames(120) == 60
    assert rate.frames(1) == 1
