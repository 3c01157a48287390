"""Checkpoints on disk: safetensors files, memory-mapped, one or sharded, in either layout, under one set of names.

Errors::

    CheckpointError
    |- CheckpointIncomplete   the folder or one of its files is missing or unreadable
    |- TensorMismatch         tensors are missing, left over or of the wrong shape
    |- NotEnoughMemory        the weights do not fit the device
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


class CheckpointError(Exception):
    """A checkpoint could not be loaded; the message says what was wanted, found and to do."""


class CheckpointIncomplete(CheckpointError):
    """The folder or one of its files is missing or unreadable."""


class TensorMismatch(CheckpointError):
    """The tensors of the files are not those of the model."""


class NotEnoughMemory(CheckpointError):
    """The weights do not fit the device."""


CONSOLIDATED = "consolidated"
HUGGING_FACE = "model"
FP8 = torch.float8_e4m3fn

SCALES = (".qscale_weight", ".weight_scale_inv")  # multiplied, whatever the second name says
ACTIVATION_SCALES = (".qscale_act", ".activation_scale")

DECODER_PREFIXES = ("model.language_model.", "language_model.model.", "model.")
HEADS = ("lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight")
DECODER_NAMES = {
    "embed_tokens": "tok_embeddings",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "ada_rms_norm.linear1": "ada_rms_norm_t_cond.0",
    "ada_rms_norm.linear2": "ada_rms_norm_t_cond.2",
    "norm": "norm",
}
DECODER_LEAF = re.compile(r"(?:(layers\.\d+)\.)?(.+)\.(weight|weight_scale_inv|activation_scale)")


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in that file of a checkpoint folder.

    Raises:
        CheckpointIncomplete: no such folder or file, or it is not a JSON object.
    """
    if not folder.is_dir():
        raise CheckpointIncomplete(f"no checkpoint folder {folder}; download the weights or correct the path")
    try:
        content: object = json.loads((folder / name).read_text())
    except FileNotFoundError:
        raise CheckpointIncomplete(f"{folder} has no {name}; download the checkpoint again") from None
    except ValueError as error:
        raise CheckpointIncomplete(f"{folder / name} is not JSON ({error}); download the checkpoint again") from None
    if not isinstance(content, dict):
        raise CheckpointIncomplete(f"{folder / name} holds no JSON object; download the checkpoint again")
    return cast("dict[str, Any]", content)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder: consolidated before Hugging Face, whole before sharded.

    Raises:
        CheckpointIncomplete: no such folder, no such files, or a shard that the index names is missing.
    """
    if not folder.is_dir():
        raise CheckpointIncomplete(f"no checkpoint folder {folder}; download the weights or correct the path")
    for stem in (CONSOLIDATED, HUGGING_FACE):
        whole = folder / f"{stem}.safetensors"
        if whole.is_file():
            return [whole]
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            shards = cast("dict[str, str]", read_json(folder, index.name).get("weight_map", {}))
            files = [folder / name for name in sorted(set(shards.values()))]
            missing = [file.name for file in files if not file.is_file()]
            if missing or not files:
                raise CheckpointIncomplete(
                    f"{folder} lacks {', '.join(missing) or 'every shard'} named in {index.name}; resume the download"
                )
            return files
        shards = sorted(folder.glob(f"{stem}-*-of-*.safetensors"))
        if shards:
            expected = int(shards[0].stem.rpartition("-of-")[2])
            if len(shards) != expected:
                raise CheckpointIncomplete(f"{folder} has {len(shards)} of {expected} shards; resume the download")
            return shards
    raise CheckpointIncomplete(
        f"{folder} has no consolidated.safetensors and no model.safetensors; download the weights into it"
    )


def consolidated_name(name: str) -> str | None:
    """The consolidated name of a Hugging Face decoder tensor; None if it belongs to another part of the model."""
    if name in HEADS:
        return "output.weight"
    prefix = next((p for p in DECODER_PREFIXES if name.startswith(p)), None)
    match = DECODER_LEAF.fullmatch(name.removeprefix(prefix)) if prefix else None
    if match is None or match[2] not in DECODER_NAMES:
        return None
    return ".".join(part for part in (match[1], DECODER_NAMES[match[2]], match[3]) if part)


def interleave(weight: Tensor, head_dim: int) -> Tensor:
    """Rows of a query or key matrix from rotary halves (i, i + hd / 2) to interleaved pairs; vectors likewise."""
    halves = weight.reshape(-1, 2, head_dim // 2, *weight.shape[1:])  # [H, 2, hd / 2, ...]
    return halves.transpose(1, 2).reshape(weight.shape)


class Checkpoint(AbstractContextManager["Checkpoint"]):
    """The tensors of a checkpoint folder under consolidated names and in the consolidated rotary layout.

    Decoder tensors of a Hugging Face file are renamed and their query and key rows re-ordered; other tensors keep
    their names. FP8 weights are widened with their scales when read. Tensors are views of the mapped files: read one,
    copy it, drop it.
    """

    def __init__(self, folder: Path, head_dim: int) -> None:
        files = weight_files(folder)
        self.folder = folder
        self._head_dim = head_dim
        self._halves = files[0].name.startswith(HUGGING_FACE)
        self._files = ExitStack()
        self._home: dict[str, tuple[Any, str]] = {}  # name here -> (open file, name in it)
        try:
            for file in files:
                self._add(file)
        except BaseException:
            self._files.close()
            raise

    def _add(self, file: Path) -> None:
        try:
            # safetensors has no type stubs: its handle is untyped and stays inside this class.
            handle: Any = self._files.enter_context(cast("Any", safe_open)(file, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise CheckpointIncomplete(f"{file} cannot be read ({error}); download it again") from None
        for name in cast("list[str]", handle.keys()):
            renamed = consolidated_name(name) if self._halves else None
            self._home[renamed or name] = (handle, name)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Every weight's shape by name; quantization scales are not listed."""
        hidden = SCALES + ACTIVATION_SCALES
        return {
            name: tuple(cast("list[int]", handle.get_slice(original).get_shape()))
            for name, (handle, original) in self._home.items()
            if not name.endswith(hidden)
        }

    def read(self, name: str) -> Tensor:
        """That weight on the CPU: as stored, FP8 as float32 times its scale."""
        weight = self.read_stored(name)
        return weight.to(torch.float32) * self.weight_scale(name) if weight.dtype == FP8 else weight

    def read_stored(self, name: str) -> Tensor:
        """That weight on the CPU as stored: FP8 without its scale."""
        weight = self._raw(name)
        if self._halves and re.search(r"\.attention\.w[qk]\.", name):
            weight = interleave(weight, self._head_dim)
        return weight

    def is_fp8(self, name: str) -> bool:
        """Whether that weight is there, and stored in FP8."""
        return name in self._home and self._raw(name).dtype == FP8

    def weight_scale(self, name: str) -> Tensor:
        """What an FP8 weight is multiplied with, a float32 scalar.

        Raises:
            TensorMismatch: it has no scale, or more than one.
        """
        scale = self._scale(name, SCALES)
        if scale is None:
            raise TensorMismatch(
                f"{self.folder}: {name} is stored in FP8 without a scale; download the checkpoint again"
            )
        return scale

    def activation_scale(self, name: str) -> Tensor | None:
        """The scale at which that weight's input is rounded to FP8, a float32 scalar; None: as each input needs."""
        return self._scale(name, ACTIVATION_SCALES)

    def _raw(self, name: str) -> Tensor:
        handle, original = self._home[name]
        return cast("Tensor", handle.get_tensor(original))

    def _scale(self, name: str, suffixes: Sequence[str]) -> Tensor | None:
        stem = name.removesuffix(".weight")
        for suffix in suffixes:
            if stem + suffix in self._home:
                scale = self._raw(stem + suffix).to(torch.float32)
                if scale.numel() != 1:
                    raise TensorMismatch(
                        f"{self.folder}: {name} has {scale.numel()} scales, one can be read; use a checkpoint with one "
                        "scale for each tensor, or in bfloat16"
                    )
                return scale.reshape(())
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
