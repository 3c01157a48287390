"""Whether a checkpoint on the disk is complete, judged by names and sizes alone: nothing is loaded."""

import fnmatch
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from agent.checkpoints.releases import CheckpointRelease

MANIFEST = "parley-download.json"  # written by parley download when every hash is right: {file: bytes}
_LARGEST_HEADER = 100_000_000  # of a safetensors file: what the format's own reader allows


def integrity_error(folder: Path, release: CheckpointRelease) -> str | None:
    """What is wrong with the checkpoint in this folder; None if it is complete."""
    if not folder.is_dir():
        return f"no folder {folder}"
    return next(_errors(folder, release), None)


def _errors(folder: Path, release: CheckpointRelease) -> Iterator[str]:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if not any(fnmatch.fnmatch(name, "*.safetensors") for name in names):
        yield f"{folder} has no .safetensors file"
    for pattern in release.files:
        is_optional = pattern.endswith((".safetensors", ".index.json"))  # one of several layouts
        if not is_optional and not fnmatch.filter(names, pattern):
            yield f"{folder} has no {pattern}"
    for name, size in _manifest(folder).items():
        if name not in names:
            yield f"{folder} has no {name}"
        elif (folder / name).stat().st_size != size:
            yield f"{folder / name} is not {size} bytes long"
    for name in fnmatch.filter(names, "*.safetensors"):
        if not _is_complete(folder / name):
            yield f"{folder / name} is truncated"


def _manifest(folder: Path) -> Mapping[str, int]:
    try:
        return cast(dict[str, int], json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError):
        return {}  # weights from elsewhere: the other checks must do


def _is_complete(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says (huggingface/safetensors: README, Format)."""
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else _LARGEST_HEADER
        if length >= _LARGEST_HEADER:
            return False
        try:
            header: dict[str, Any] = json.loads(stream.read(length))
        except ValueError:
            return False
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return file.stat().st_size == 8 + length + max(ends, default=0)
