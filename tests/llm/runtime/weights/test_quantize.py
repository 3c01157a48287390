from importlib.util import find_spec

import pytest
import torch
from torch import nn

from llm.runtime.weights.quantize import Quantization, QuantizationUnavailable, quantize


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96, bias=False), nn.SiLU(), nn.Linear(96, 32, bias=False)).requires_grad_(False)


def test_none_changes_nothing() -> None:
    plain = network()
    quantize(plain, "none")
    assert all(type(parameter) is nn.Parameter for parameter in plain.parameters())


def test_without_torchao_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.runtime.weights.quantize.find_spec", lambda name: None)
    with pytest.raises(QuantizationUnavailable, match="pip install torchao"):
        quantize(network(), "int8")


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
@pytest.mark.filterwarnings("ignore")  # torchao warns of what it lacks when it is imported
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_eight_bits_are_nearly_as_good(kind: Quantization) -> None:
    plain, small = network(), network()
    quantize(small, kind)
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    expected = plain(x)
    error = (small(x) - expected).norm() / expected.norm()
    assert 1e-5 < error < 0.05
