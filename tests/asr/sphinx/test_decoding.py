"""What pocketsphinx decodes with: the language model's files, the noise under silence, and how sure it is."""

from pathlib import Path

import numpy as np
import pytest

from asr.sphinx.decoder import is_decoy, write_model
from asr.sphinx.decoding import UNKNOWN, comfort_noise, confidence


def test_the_model_is_the_same_each_time(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        write_model(("one two", "stop"), folder)
    first, second = ({file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders)
    assert first == second
    entries = first["domain.dict"].decode().splitlines()
    assert {"one", "two", "stop"} <= {entry.split()[0] for entry in entries}
    assert sum(is_decoy(entry) for entry in entries) == 500


def test_comfort_noise_is_pink_and_of_its_level() -> None:
    noise = comfort_noise(-45.0) / 32768.0
    assert 20 * np.log10(np.sqrt(np.mean(noise**2))) == pytest.approx(-45.0, abs=0.1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[800:1600].sum(), power[12_800:25_600].sum()  # octaves
    assert low == pytest.approx(high, rel=0.2)


class Heard:
    """A decoded word."""

    def __init__(self, word: str, prob: float, frames: int = 30) -> None:
        self.word, self.prob, self.start_frame, self.end_frame = word, prob, 0, frames - 1


def test_confidence_falls_with_the_least_certain_word_and_with_what_decoys_took() -> None:
    sure, unsure, decoy = Heard("stop", 0.9), Heard("stop", 0.01), Heard("~brenda", 0.9)
    assert confidence([sure, sure]) > 0.9
    assert confidence([sure, unsure]) < 0.1
    assert confidence([sure, decoy]) < 0.5
    assert confidence([decoy]) < 0.01
    assert UNKNOWN not in sure.word
