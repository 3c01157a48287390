"""Fetching weights from a hub on loopback, through the hub's own client: licenses first, hashes, holes, refusals."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.checkpoints import download
from agent.checkpoints.download import find_releases
from agent.checkpoints.integrity import MANIFEST, integrity_error
from agent.checkpoints.releases import RELEASES, TTS
from agent.errors import DownloadError

COMMIT = "c0ffee" + "0" * 34
HEADER = json.dumps({"weight": {"dtype": "U8", "shape": [70_000], "data_offsets": [0, 70_000]}}).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(range(250)) * 280
FILES = {
    "README.md": b"not wanted",
    "consolidated.safetensors": WEIGHTS,
    "params.json": b"{}",
    "tekken.json": b'{"vocab": []}',
    "voice_embedding/one.pt": b"voice",
}


@dataclass
class FakeHub:
    """What it serves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    promised: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    breaks_off_after: int | None = None  # bytes of the next large file
    status: int = 200
    url: str = ""

    def info(self) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, content in self.promised.items():
            git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            sibling: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git}
            if name.endswith(".safetensors"):
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        return {"id": TTS.repository, "sha": COMMIT, "siblings": siblings}


def handler_of(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            path = self.path.partition("?")[0]
            name = path.partition(f"/resolve/{COMMIT}/")[2]
            if hub.status != 200:
                self._send(hub.status, b"", {}, with_body=with_body)
            elif path == f"/api/models/{TTS.repository}/revision/main":
                body = json.dumps(hub.info()).encode()
                self._send(200, body, {"Content-Type": "application/json"}, with_body=with_body)
            elif name in hub.files:
                self._send_file(name, with_body=with_body)
            else:
                self._send(404, b"", {}, with_body=with_body)

        def _send_file(self, name: str, *, with_body: bool) -> None:
            body, status = hub.files[name], 200
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(hub.promised[name]).hexdigest()}"'}
            if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                hub.ranges.append(self.headers["Range"])
                headers["Content-Range"] = f"bytes {wanted[1]}-{len(body) - 1}/{len(body)}"
                body, status = body[int(wanted[1]) :], 206
            self._send(status, body, headers, with_body=with_body)

        def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if not with_body:
                return
            if hub.breaks_off_after is not None and len(body) > hub.breaks_off_after:
                self.wfile.write(body[: hub.breaks_off_after])
                hub.breaks_off_after = None
                hub.status = 503
                self.close_connection = True
                return
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


Fetch = Callable[[], list[str]]


@pytest.fixture
def fetch(hub: FakeHub, tmp_path: Path) -> Fetch:
    """Fetches the speech model; returns the lines told."""

    def run() -> list[str]:
        told: list[str] = []
        download.download([TTS], tmp_path, say=told.append, endpoint=hub.url)
        return told

    return run


def test_all_that_is_needed_arrives_and_nothing_else(fetch: Fetch, tmp_path: Path) -> None:
    fetch()
    folder = TTS.folder(tmp_path)
    assert integrity_error(folder, TTS) is None
    assert (folder / "consolidated.safetensors").read_bytes() == WEIGHTS
    assert not (folder / "README.md").exists()
    assert set(json.loads((folder / MANIFEST).read_text())) == FILES.keys() - {"README.md"}


def test_the_license_is_told_before_anything_is_asked_of_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    asked_before: list[tuple[str, int]] = []
    download.download(
        [TTS], tmp_path, say=lambda line: asked_before.append((line, len(hub.requests))), endpoint=hub.url
    )
    line, requests = asked_before[0]
    assert "CC BY-NC 4.0: NOT for commercial use" in line
    assert requests == 0


def test_what_is_there_is_not_fetched_again(fetch: Fetch, hub: FakeHub) -> None:
    fetch()
    hub.requests.clear()
    assert fetch()[-1].startswith(f"{TTS.name}: already in ")
    assert hub.requests == []


def test_a_download_that_broke_off_goes_on_where_it_stopped(
    fetch: Fetch, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)  # what it writes to the disk at once
    hub.breaks_off_after = 40_000
    with pytest.raises(DownloadError, match=r"cannot be fetched .*; run the command again"):
        fetch()
    assert not (TTS.folder(tmp_path) / MANIFEST).exists()
    hub.status = 200
    fetch()
    assert hub.ranges == ["bytes=40000-"]
    assert integrity_error(TTS.folder(tmp_path), TTS) is None


@pytest.mark.parametrize("name", ["consolidated.safetensors", "tekken.json"])
def test_a_damaged_file_is_noticed_and_removed(name: str, fetch: Fetch, hub: FakeHub, tmp_path: Path) -> None:
    hub.files[name] = bytes([hub.files[name][0] ^ 1]) + hub.files[name][1:]
    with pytest.raises(DownloadError, match=f"{name} arrived damaged and was removed; run the command again"):
        fetch()
    assert not (TTS.folder(tmp_path) / name).exists()
    hub.files[name] = FILES[name]
    fetch()
    assert integrity_error(TTS.folder(tmp_path), TTS) is None


def test_a_hub_that_refuses_is_one_line(fetch: Fetch, hub: FakeHub) -> None:
    for status in (401, 403, 404, 500):
        hub.status = status
        with pytest.raises(DownloadError, match="mistralai/Voxtral-4B-TTS-2603 cannot be fetched") as caught:
            fetch()
        assert "\n" not in str(caught.value)


def test_a_repository_without_the_files(fetch: Fetch, hub: FakeHub) -> None:
    hub.promised = {"README.md": b""}
    with pytest.raises(DownloadError, match="has no weights at main"):
        fetch()


def test_a_full_disk_is_told_before_the_first_byte(fetch: Fetch, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 1000

    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: Full)
    with pytest.raises(DownloadError, match="set PARLEY_MODELS to a folder on another disk"):
        fetch()
    assert len(hub.requests) == 1  # the list of files


def test_names() -> None:
    assert find_releases([], [TTS]) == [TTS]
    assert find_releases(["Ministral-3-3B-Instruct-2512"], [TTS]) == [RELEASES["Ministral-3-3B-Instruct-2512"]]
    with pytest.raises(DownloadError, match=r"wanted a checkpoint, found 'Voxtral'; there are Voxtral-Mini"):
        find_releases(["Voxtral"], [])


def test_the_command(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("PARLEY_MODELS", str(tmp_path))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("LOGURU_AUTOINIT", "0")
    assert cli.main(["download", TTS.name, "--hub", hub.url]) == 0
    assert "CC BY-NC 4.0" in capsys.readouterr().out
    assert integrity_error(TTS.folder(tmp_path), TTS) is None
    assert cli.main(["download", "nothing"]) == 1
    assert capsys.readouterr().err.startswith("parley: wanted a checkpoint, found 'nothing'")
