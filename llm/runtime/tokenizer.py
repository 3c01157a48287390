"""Byte-level BPE from a `tekken.json`. tiktoken is loaded with the first tokenizer, not with this module."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.runtime.weights.checkpoint import CheckpointIncomplete, read_json

if TYPE_CHECKING:
    from tiktoken import Encoding


class Tekken:
    """Text to ids and back. Ids below `specials` are special tokens; text never encodes to one."""

    def __init__(
        self, encoding: "Encoding", special_ids: dict[str, int], specials: int, content: dict[str, Any]
    ) -> None:
        self._encoding = encoding
        self._special_ids = special_ids
        self.specials = specials
        self.content = content  # the rest of the file, such as its `audio` section

    @classmethod
    def load(cls, folder: Path) -> "Tekken":
        """The tokenizer of a checkpoint folder.

        Raises:
            CheckpointIncomplete: tekken.json is missing or has no vocabulary of the kind wanted.
        """
        from tiktoken import Encoding  # noqa: PLC0415  # an optional dependency, and slow to import

        content = read_json(folder, "tekken.json")
        try:
            config = content["config"]
            specials: int = config["default_num_special_tokens"]
            # entries beyond the usable vocabulary take no part in merging
            entries = content.pop("vocab")[: config["default_vocab_size"] - specials]
            ranks = {base64.b64decode(entry["token_bytes"]): int(entry["rank"]) for entry in entries}
            special_ids = {str(entry["token_str"]): int(entry["rank"]) for entry in content["special_tokens"]}
            pattern: str = config["pattern"]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointIncomplete(
                f"{folder / 'tekken.json'} is not a tekken tokenizer of version 7 or later ({error!r}); "
                "download the checkpoint again"
            ) from None
        encoding = Encoding(name=folder.name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        return cls(encoding, special_ids, specials, content)

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text: nothing is added, normalized or read as a special token."""
        return [rank + self.specials for rank in self._encoding.encode_ordinary(text)]

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        """The UTF-8 bytes of text ids, which may end inside a character; special tokens give nothing."""
        return self._encoding.decode_bytes([index - self.specials for index in ids if index >= self.specials])

    def special(self, name: str) -> int:
        """Id of the special token of that name.

        Raises:
            CheckpointIncomplete: this tokenizer has none.
        """
        if name not in self._special_ids:
            raise CheckpointIncomplete(f"tekken.json has no special token {name}; it belongs to another model")
        return self._special_ids[name]
