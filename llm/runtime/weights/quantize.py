"""Weight-only quantization of a network's matrices through torchao, for cards with little memory."""

from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from torch import nn

from llm.runtime.weights.checkpoint import CheckpointError

Quantization: TypeAlias = Literal["none", "int8", "fp8"]


class QuantizationUnavailable(CheckpointError):
    """torchao is not installed."""


def quantize(network: nn.Module, kind: Quantization) -> None:
    """WriteKV the network's linear weights in 8 bits, in place; activations keep their type.

    Raises:
        QuantizationUnavailable: torchao is not installed.
    """
    if kind == "none":
        return
    if find_spec("torchao") is None:
        raise QuantizationUnavailable(f"{kind} weights need torchao: pip install torchao, or set quantization = none")
    # torchao is optional and untyped: imported here, seen as Any
    quantization: Any = __import__("torchao.quantization", fromlist=["quantize_"])
    configs = {"int8": "Int8WeightOnlyConfig", "fp8": "Float8WeightOnlyConfig"}
    quantization.quantize_(network, getattr(quantization, configs[kind])())
