"""The CUDA devices of this machine, as their driver's own tool lists them: no library is loaded for it."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
_LIMIT_S = 10.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device; its place in the list is its CUDA number unless CUDA_VISIBLE_DEVICES says otherwise."""

    name: str
    total_bytes: int
    free_bytes: int


def find_gpus() -> Sequence[Gpu]:
    """All of them; none if there is no driver or it does not answer."""
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(_parse(line) for line in done.stdout.splitlines() if line.count(",") == 2)


def _parse(line: str) -> Gpu:
    name, total, free = (part.strip() for part in line.split(","))
    return Gpu(name, _bytes(total), _bytes(free))


def _bytes(mebibytes: str) -> int:
    """A device that shares the machine's memory reports "[N/A]": none of its own."""
    return int(mebibytes) * _MIB if mebibytes.isdigit() else 0
