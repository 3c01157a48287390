"""The codes of a frame: one semantic and many acoustic integers, their two specials, their embedding, their levels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llm.runtime.weights.loading import Recipe

SPECIALS = 2  # every code that stands for sound is stored two higher
EMPTY = 0
END = 1  # as semantic code: the utterance is over and this frame is not spoken
PADDING_MULTIPLE = 128  # of the embedding table and the semantic head
EMBEDDING = "mm_audio_embeddings.audio_codebook_embeddings.embeddings.weight"


def pad_size(size: int) -> int:
    """The next multiple of the padding."""
    return -(-size // PADDING_MULTIPLE) * PADDING_MULTIPLE


@dataclass(frozen=True, slots=True)
class Codebooks:
    """How many codes there are, without the specials."""

    semantic: int
    acoustic_levels: int
    acoustic: int  # codebooks, A

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Codebooks":
        """From `multimodal.audio_model_args`, in either of its two spellings.

        Raises:
            KeyError: a size is missing.
            ValueError: the acoustic codebooks differ in size.
        """
        if "codebook_sizes" in params:
            semantic, *acoustic = (int(size) for size in str(params["codebook_sizes"]).split(","))
            if not acoustic or len(set(acoustic)) > 1:
                raise ValueError(f"acoustic codebooks of one size are wanted, found {acoustic}")
            return cls(semantic, acoustic[0], len(acoustic))
        return cls(params["semantic_codebook_size"], params["acoustic_codebook_size"], params["n_acoustic_codebook"])

    @property
    def count(self) -> int:
        """Codes of a frame, K = 1 + A."""
        return 1 + self.acoustic

    @property
    def semantic_codes(self) -> int:
        """Semantic codes with the specials; the semantic head is padded beyond them."""
        return self.semantic + SPECIALS

    @property
    def offsets(self) -> list[int]:
        """First row of each codebook in the embedding table, K values."""
        acoustic_codes = self.acoustic_levels + SPECIALS
        return [0, *(self.semantic_codes + acoustic_codes * index for index in range(self.acoustic))]

    @property
    def table_rows(self) -> int:
        """Rows of the embedding table."""
        return pad_size(self.semantic_codes + self.acoustic * (self.acoustic_levels + SPECIALS))

    def frame(self, semantic: Tensor, latent: Tensor) -> Tensor:
        """The codes [B, K] of semantic codes [B] and final latents [B, A]: each value's nearest level in [-1, 1].

        Behind an END all acoustic codes are the lowest.
        """
        share = (latent.clamp(-1.0, 1.0) + 1.0) / 2.0
        levels = torch.round(share * (self.acoustic_levels - 1)).to(torch.int64)  # half to even
        levels = levels.where((semantic != END)[:, None], 0)
        return torch.cat((semantic[:, None], levels + SPECIALS), dim=1)


class CodeEmbedding(nn.Module):
    """A frame as the decoder reads it: the sum of its codes' rows."""

    offsets: Tensor

    def __init__(
        self,
        codebooks: Codebooks,
        dim: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(codebooks.table_rows, dim, device=device, dtype=dtype)
        buffer_device = None if device is None or torch.device(device).type == "meta" else device
        self.register_buffer("offsets", torch.tensor(codebooks.offsets, device=buffer_device), persistent=False)
        self.requires_grad_(False)

    def forward(self, codes: Tensor) -> Tensor:
        """Embeddings [..., D] of frames [..., K]."""
        return self.embeddings(codes + self.offsets).sum(dim=-2)

    def recipes(self) -> dict[str, Recipe]:
        """Where the table comes from."""
        return {"embeddings.weight": Recipe.of(EMBEDDING, *self.embeddings.weight.shape)}
