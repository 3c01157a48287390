"""What stands before the first frame: the voice, then the text, between special tokens.

    <s> [BEGIN_AUDIO] [AUDIO] x N [NEXT_AUDIO_TEXT]  text  [REPEAT_AUDIO_TEXT] [BEGIN_AUDIO]

The part up to the text depends on the voice alone, so that every utterance of a voice can share it.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from llm.runtime.tokenizer import Tekken
from llm.runtime.weights.checkpoint import CheckpointIncomplete, TensorMismatch


@dataclass(frozen=True, slots=True)
class PromptSpecialTokens:
    """Ids of the special tokens of a prompt; the defaults are those of the released tokenizer."""

    begin: int = 1  # <s>
    audio: int = 24  # [AUDIO], in whose place a row of the voice stands
    begin_audio: int = 25  # [BEGIN_AUDIO]
    repeat: int = 35  # [REPEAT_AUDIO_TEXT]: now speak the text
    next: int = 36  # [NEXT_AUDIO_TEXT]: from the voice to the text

    @classmethod
    def of(cls, tokenizer: Tekken) -> "PromptSpecialTokens":
        """As that tokenizer has them. Raises CheckpointIncomplete if it lacks one."""
        names = ("<s>", "[AUDIO]", "[BEGIN_AUDIO]", "[REPEAT_AUDIO_TEXT]", "[NEXT_AUDIO_TEXT]")
        return cls(*map(tokenizer.special, names))

    def voice_part(self, rows: int) -> list[int]:
        """Ids from the start to the text, for a voice of so many rows."""
        return [self.begin, self.begin_audio, *[self.audio] * rows, self.next]

    def text_part(self, text_ids: Sequence[int]) -> list[int]:
        """Ids from the text to the end of the prompt."""
        return [*text_ids, self.repeat, self.begin_audio]


def load_voice(folder: Path, name: str, dim: int) -> Tensor:
    """The rows [N, dim] of a voice, which stand for the [AUDIO] tokens. The file is read without running code in it.

    Raises:
        CheckpointIncomplete: the file is missing or unreadable.
        TensorMismatch: it holds something else.
    """
    file = folder / "voice_embedding" / f"{name}.pt"
    try:
        rows: object = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointIncomplete(f"no voice file {file}; download the checkpoint again") from None
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointIncomplete(f"{file} cannot be read ({error}); download it again") from None
    if not isinstance(rows, Tensor) or rows.ndim != 2 or rows.shape[1] != dim or not rows.is_floating_point():
        found = f"{rows.dtype} {list(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
        raise TensorMismatch(f"{file} holds {found}, wanted a float tensor [rows, {dim}]; download it again")
    return rows
