"""Fetches released checkpoints from the Hugging Face hub: resumable, every hash checked, the license shown first."""

import fnmatch
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.checkpoints.integrity import MANIFEST, integrity_error
from agent.checkpoints.releases import GB, RELEASES, CheckpointRelease
from agent.errors import DownloadError
from agent.extras import install_command

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class _File:
    """One file as the hub announces it."""

    name: str
    size: int
    sha256: str | None  # of a large file
    git_sha1: str | None  # of a small one, as git names it


def find_releases(names: Sequence[str], default: Sequence[CheckpointRelease]) -> Sequence[CheckpointRelease]:
    """The releases of these names, the default ones if there are none.

    Raises:
        DownloadError: there is no such release.
    """
    for name in names:
        if name not in RELEASES:
            raise DownloadError(f"wanted a checkpoint, found {name!r}; there are {', '.join(RELEASES)}")
    return [RELEASES[name] for name in names] or default


def download(
    releases: Sequence[CheckpointRelease], models: Path, *, say: Callable[[str], None], endpoint: str | None = None
) -> None:
    """Fetch what is not yet there, one release after the other; run again, it continues where it stopped.

    Args:
        releases: the checkpoints, each into a folder of its own.
        models: where these folders are.
        say: shows a line to the user: the licenses first, before anything is asked of the hub.
        endpoint: URL of the hub; the public one, or HF_ENDPOINT, if not given.

    Raises:
        DownloadError: the hub refuses or is away, the disk is full, or a file is not what was promised.
    """
    for release in releases:
        size = f"{release.download_bytes / GB:.1f} GB"
        say(f"{release.name}: {size}, license {release.license}: {release.terms}")
    for release in releases:
        folder = release.folder(models)
        if (folder / MANIFEST).exists() and integrity_error(folder, release) is None:
            say(f"{release.name}: already in {folder}")
            continue
        _fetch(release, folder, endpoint)
        say(f"{release.name}: complete in {folder}")


def _fetch(release: CheckpointRelease, folder: Path, endpoint: str | None) -> None:
    try:
        from huggingface_hub import HfApi, hf_hub_url  # noqa: PLC0415  # an extra of the installation
    except ImportError:
        raise DownloadError(
            f"the package huggingface_hub is not installed; run: {install_command('engines')}"
        ) from None
    try:
        hub = HfApi(endpoint=endpoint)
        info = hub.model_info(release.repository, revision=release.revision, files_metadata=True)
        files = [_read_announcement(file) for file in info.siblings or () if _is_wanted(file.rfilename, release)]
        if not any(file.name.endswith(".safetensors") for file in files):
            raise DownloadError(f"{release.repository} has no weights at {release.revision}; see its page on the hub")
        _require_room(folder, files)
        for file in files:
            if not (folder / file.name).exists():
                url = hf_hub_url(release.repository, file.name, revision=info.sha, endpoint=endpoint)
                _fetch_file(url, folder / file.name, file)
    except DownloadError:
        raise
    except Exception as error:  # the hub's client lets errors of several libraries through
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DownloadError(f"{release.repository} cannot be fetched ({reason}); run the command again") from error
    (folder / MANIFEST).write_text(json.dumps({file.name: file.size for file in files}, indent=1))


def _fetch_file(url: str, path: Path, file: _File) -> None:
    """Fetch one file, continuing behind what an earlier run left; the hub's own download would start it again."""
    # Their signatures name tqdm, which has no types.
    from huggingface_hub import get_hf_file_metadata  # noqa: PLC0415  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.file_download import http_get  # noqa: PLC0415  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.utils import build_hf_headers  # noqa: PLC0415  # pyright: ignore[reportUnknownVariableType]

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    place = get_hf_file_metadata(url).location
    is_hub = urlsplit(place).netloc == urlsplit(url).netloc
    headers = build_hf_headers() if is_hub else {}  # the user's token is for the hub alone
    with part.open("ab") as stream:
        http_get(place, stream, resume_size=stream.tell(), headers=headers, expected_size=file.size)
    _check(part, file)
    part.rename(path)


def _is_wanted(name: str, release: CheckpointRelease) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in release.files)


def _read_announcement(file: "RepoSibling") -> _File:
    return _File(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None, file.blob_id)


def _require_room(folder: Path, files: Sequence[_File]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    wanted = sum(file.size for file in files) - there
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise DownloadError(
            f"{folder} has room for {free / GB:.1f} GB, wanted {wanted / GB:.1f}; "
            "make room, or set PARLEY_MODELS to a folder on another disk"
        )


def _check(path: Path, file: _File) -> None:
    """Compare with the hash that the hub announced; a damaged file is removed: the next run fetches it again."""
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            sha256.update(block)
            git.update(block)
    is_right = sha256.hexdigest() == file.sha256 if file.sha256 else git.hexdigest() == file.git_sha1
    if not is_right:
        path.unlink()
        raise DownloadError(f"{path.with_suffix('')} arrived damaged and was removed; run the command again")
