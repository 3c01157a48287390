"""From a checkpoint's tensors to a model's parameters: strict, one tensor at a time, converted on the way."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from llm.runtime.weights.checkpoint import FP8, Checkpoint, NotEnoughMemory, TensorMismatch

GB = 1e9
NAMED_AT_MOST = 8  # tensors of each kind listed in one error


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor that a checkpoint must hold."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one parameter is made of tensors of the checkpoint.

    Without `combine` the parts are stacked along their first axis. `combine` gets them in float32.
    """

    parts: tuple[Part, ...]
    combine: Callable[[Sequence[Tensor]], Tensor] | None = None

    @classmethod
    def of(cls, name: str, *shape: int) -> "Recipe":
        """The tensor of that name and shape, as it is."""
        return cls((Part(name, shape),))

    @classmethod
    def stack(cls, *parts: tuple[str, tuple[int, ...]]) -> "Recipe":
        """The (name, shape) tensors above each other."""
        return cls(tuple(Part(name, shape) for name, shape in parts))


def nest(prefix: str, recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The recipes of a submodule that its parent holds as `prefix`."""
    return {f"{prefix}.{name}": recipe for name, recipe in recipes.items()}


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated there; None where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps it at hand
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "cpu" and (meminfo := Path("/proc/meminfo")).is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return None


def check_memory(needed: int, device: torch.device, what: str) -> None:
    """Raise NotEnoughMemory unless `needed` bytes are free on the device."""
    free = free_memory(device)
    if free is not None and free < needed:
        raise NotEnoughMemory(
            f"{what} need {needed / GB:.1f} GB on {device}, {free / GB:.1f} GB are free; "
            "free some memory, choose a smaller type or another device"
        )


def check_tensors(checkpoint: Checkpoint, recipes: Mapping[str, Recipe], ignored: Collection[str]) -> None:
    """Raise TensorMismatch, naming every kind of difference, unless the checkpoint holds just the parts wanted.

    Args:
        checkpoint: what is there.
        recipes: what is wanted.
        ignored: beginnings of the names of tensors that belong to parts the model does not use.
    """
    wanted = {part.name: part.shape for recipe in recipes.values() for part in recipe.parts}
    found = checkpoint.shapes
    missing = [name for name in wanted if name not in found]
    surplus = [name for name in found if name not in wanted and not name.startswith(tuple(ignored))]
    misshapen = [
        f"{name} {list(found[name])}, wanted {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    complaints: list[str] = []
    for kind, names in (("missing", missing), ("not of this model", surplus), ("misshapen", misshapen)):
        if names:
            more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
            complaints.append(f"{len(names)} {kind}: {', '.join(names[:NAMED_AT_MOST])}{more}")
    if complaints:
        raise TensorMismatch(
            f"{checkpoint.folder} does not fit its configuration ({'; '.join(complaints)}); download it again"
        )


def load_parameters(
    module: nn.Module,
    recipes: Mapping[str, Recipe],
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    ignored: Collection[str] = (),
) -> None:
    """Give every parameter of the module its values, on that device and in that type; buffers move to the device.

    Parameters in FP8 stay so and get their values as stored; their scales are the module's business. The parameters
    may be on the meta device: no more than one tensor is in memory twice.

    Raises:
        TensorMismatch: tensors are missing, left over or misshapen.
        NotEnoughMemory: the parameters do not fit the device.
    """
    parameters = dict(module.named_parameters())
    assert parameters.keys() == recipes.keys(), parameters.keys() ^ recipes.keys()
    check_tensors(checkpoint, recipes, ignored)
    types = {name: FP8 if parameter.dtype == FP8 else dtype for name, parameter in parameters.items()}
    size = sum(parameter.numel() * types[name].itemsize for name, parameter in parameters.items())
    check_memory(size, device, f"the weights of {checkpoint.folder}")
    for name, parameter in parameters.items():
        values = torch.empty(parameter.shape, device=device, dtype=types[name])
        fill(values, recipes[name], checkpoint)
        owner, _, leaf = name.rpartition(".")
        module.get_submodule(owner).register_parameter(leaf, nn.Parameter(values, requires_grad=False))
    module.to(device=device)


def fill(values: Tensor, recipe: Recipe, checkpoint: Checkpoint) -> None:
    """Write what the recipe makes of the checkpoint into `values`."""
    if recipe.combine is not None:
        parts = [checkpoint.read(part.name).to(torch.float32) for part in recipe.parts]
        values.copy_(recipe.combine(parts))
        return
    read = checkpoint.read_stored if values.dtype == FP8 else checkpoint.read
    start = 0
    for part in recipe.parts:
        rows = part.shape[0]
        values[start : start + rows].copy_(read(part.name))
        start += rows
    assert start == values.shape[0]
