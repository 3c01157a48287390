"""Rotary angles far from the beginning."""

import math

import pytest
import torch

from llm.runtime.layers import rotary_frequencies, rotation


def test_angles_stay_exact_at_a_million_positions() -> None:
    position = 1_000_003
    turn = rotation(torch.tensor(position), rotary_frequencies(128, 1e6))
    for pair in (0, 1, 20, 63):
        angle = position * 1e6 ** (-2 * pair / 128)
        assert turn[pair].real.item() == pytest.approx(math.cos(angle), abs=1e-6)
        assert turn[pair].imag.item() == pytest.approx(math.sin(angle), abs=1e-6)
