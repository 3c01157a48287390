"""The released checkpoints: where they come from, under which license, what of them is needed and how much that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CheckpointRelease:
    """One released checkpoint on the Hugging Face hub."""

    name: str  # of its folder among the models
    repository: str
    revision: str
    license: str
    terms: str  # what the license means for a user
    files: tuple[str, ...]  # shell patterns of what the engine reads; the rest stays where it is
    download_bytes: int  # about
    weight_bytes: int  # on the device, about

    def folder(self, models: Path) -> Path:
        """Where it lies among the models."""
        return models / self.name


_APACHE = "free for any use, with its notice"
_CONSOLIDATED = ("consolidated*.safetensors", "consolidated.safetensors.index.json", "params.json", "tekken.json")


def _ministral(size: str, download_bytes: int, weight_bytes: int) -> CheckpointRelease:
    name = f"Ministral-3-{size}-Instruct-2512"
    return CheckpointRelease(
        name, f"mistralai/{name}", "main", "Apache-2.0", _APACHE, _CONSOLIDATED, download_bytes, weight_bytes
    )


REALTIME = CheckpointRelease(
    "Voxtral-Mini-4B-Realtime-2602",
    "mistralai/Voxtral-Mini-4B-Realtime-2602",
    "main",
    "Apache-2.0",
    _APACHE,
    _CONSOLIDATED,
    download_bytes=8_880_000_000,
    weight_bytes=8_860_000_000,
)
TTS = CheckpointRelease(
    "Voxtral-4B-TTS-2603",
    "mistralai/Voxtral-4B-TTS-2603",
    "main",
    "CC BY-NC 4.0",
    "NOT for commercial use, and its authors must be named",
    (*_CONSOLIDATED, "voice_embedding/*.pt"),
    download_bytes=8_050_000_000,
    weight_bytes=8_000_000_000,
)
MINISTRAL_8B = _ministral("8B", 9_600_000_000, 17 * GB)

RELEASES: Mapping[str, CheckpointRelease] = {
    release.name: release
    for release in (
        REALTIME,
        TTS,
        _ministral("3B", 4_700_000_000, 7 * GB),
        MINISTRAL_8B,
        _ministral("14B", 14_800_000_000, 27 * GB),
    )
}
