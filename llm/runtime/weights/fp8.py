"""Matrices that stay in FP8 as released: e4m3 weights and inputs, a scale for each, sums in higher precision.

Released files have one scale for each of their tensors. Where several are stacked in one matrix, each row keeps the
scale of its tensor, and the input, which they share, takes the largest of theirs, so that it does not saturate.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import ScalingType

from llm.runtime.decoder import Decoder
from llm.runtime.weights.checkpoint import FP8, Checkpoint
from llm.runtime.weights.loading import Part

LARGEST = torch.finfo(FP8).max
FIRST_CAPABILITY = (8, 9)  # of CUDA devices that multiply in FP8: Ada, Hopper and later
SIZE_STEP = 16  # both sizes of a matrix are multiples of it, or torch.nn.functional.scaled_mm refuses it


def can_multiply(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this device multiplies FP8 into that type faster than it would widened matrices."""
    return (
        device.type == "cuda"
        and dtype == torch.bfloat16
        and torch.cuda.get_device_capability(device) >= FIRST_CAPABILITY
    )


class FP8Linear(nn.Module):
    """x @ weight.T, both rounded to e4m3, without bias.

    Attributes:
        weight: [out, in] e4m3; on the meta device until it is loaded.
        weight_scale: [1, out] float32.
        input_scale: [1, 1] float32; None takes each row's own from its largest number.
    """

    weight_scale: Tensor
    input_scale: Tensor | None

    def __init__(self, inputs: int, weight_scale: Tensor, input_scale: Tensor | None) -> None:
        super().__init__()
        outputs = weight_scale.shape[1]
        self.weight = nn.Parameter(torch.empty((outputs, inputs), device="meta", dtype=FP8), requires_grad=False)
        self.register_buffer("weight_scale", weight_scale, persistent=False)
        self.register_buffer("input_scale", input_scale, persistent=False)

    @classmethod
    def of(cls, parts: Sequence[Part], checkpoint: Checkpoint) -> "FP8Linear":
        """For these tensors of the checkpoint above each other, with their scales."""
        weights = [checkpoint.weight_scale(part.name).expand(1, part.shape[0]) for part in parts]
        inputs = [scale for part in parts if (scale := checkpoint.activation_scale(part.name)) is not None]
        input_scale = torch.stack(inputs).max().reshape(1, 1) if len(inputs) == len(parts) else None
        return cls(parts[0].shape[1], torch.cat(weights, dim=1), input_scale)

    def forward(self, x: Tensor) -> Tensor:
        """[..., out] of [..., in], in the type of x."""
        rows = x.flatten(0, -2)  # [M, in]
        scale = self.input_scale
        if scale is None:
            scale = rows.abs().amax(dim=1, keepdim=True).to(torch.float32).clamp(min=1e-12) / LARGEST  # [M, 1]
        # the scale's float32 makes the quotient's, without a kernel of its own
        rounded = (rows / scale).clamp(-LARGEST, LARGEST).to(FP8)
        out: Tensor = functional.scaled_mm(
            rounded,
            self.weight.t(),
            scale_a=scale.expand(len(rows), 1).contiguous(),
            scale_recipe_a=ScalingType.RowWise,
            scale_b=self.weight_scale,
            scale_recipe_b=ScalingType.RowWise,
            output_dtype=x.dtype,
        )
        return out.reshape(*x.shape[:-1], -1)


def keep_fp8(decoder: Decoder, checkpoint: Checkpoint) -> None:
    """Before its parameters are loaded, let those matrices of its layers that the checkpoint has in FP8 stay so.

    The head is widened, since its rows are read as they are, and so are matrices of sizes that cannot be multiplied.
    """
    for name, recipe in decoder.recipes().items():
        path = name.removesuffix(".weight")
        matrix = decoder.get_submodule(path)
        can_stay = (
            isinstance(matrix, nn.Linear)
            and matrix is not decoder.output
            and not (matrix.in_features % SIZE_STEP or matrix.out_features % SIZE_STEP)
        )
        if can_stay and all(checkpoint.is_fp8(part.name) for part in recipe.parts):
            decoder.set_submodule(path, FP8Linear.of(recipe.parts, checkpoint))
