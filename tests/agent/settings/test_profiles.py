"""Profiles: what `auto` takes, which checkpoints it wants, and that any part can be another."""

import json
import struct
from pathlib import Path

import pytest

from agent.checkpoints import gpus
from agent.checkpoints.gpus import Gpu
from agent.checkpoints.integrity import MANIFEST, integrity_error
from agent.checkpoints.releases import RELEASES, TTS, CheckpointRelease
from agent.engines.configure import load_settings
from agent.engines.profiles import choose_profile, releases_of
from agent.engines.registry import installed_engines
from agent.settings.profiles import PROFILES, Choice

ONE_GPU = (Gpu("H200", 150_000_000_000, 140_000_000_000),)
KEY = {"MISTRAL_API_KEY": "secret"}


def write_weights(folder: Path, release: CheckpointRelease, *, size: int = 8) -> None:
    """Files that are named and shaped as the release's, with one small tensor."""
    for pattern in release.files:
        if not pattern.endswith((".safetensors", ".index.json")):
            file = folder / pattern.replace("*", "one")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    (folder / "consolidated.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with all weights of the gpu profile."""
    for release in releases_of("gpu", installed_engines()):
        write_weights(release.folder(tmp_path), release)
    return tmp_path


def test_auto_takes_the_best_and_says_why(models: Path) -> None:
    for found, environment, profile, reason in (
        (ONE_GPU, KEY, "gpu", "a GPU and all weights in "),
        ((), KEY, "mistral", "MISTRAL_API_KEY is set (no GPU)"),
        ((), {}, "embedded", "no GPU, and no MISTRAL_API_KEY"),
        ((), {"MISTRAL_API_KEY": ""}, "embedded", "no GPU, and no MISTRAL_API_KEY"),
    ):
        choice = choose_profile(installed_engines(), models, environment, lambda found=found: found)
        assert choice.profile == profile
        assert choice.reason.startswith(reason)


def test_auto_without_one_of_the_weights(models: Path) -> None:
    (TTS.folder(models) / "tekken.json").unlink()
    choice = choose_profile(installed_engines(), models, {}, lambda: ONE_GPU)
    assert choice.profile == "embedded"
    assert choice.reason == f"weights of {TTS.name} are not in {models}, and no MISTRAL_API_KEY"


def test_settings_say_which_profile_auto_is() -> None:
    settings = load_settings(None, {}, choose=lambda models, environment: Choice("gpu", "the test says so"))
    assert settings.profile == "gpu"
    assert (settings.asr.kind, settings.llm.kind, settings.tts.kind) == ("voxtral", "ministral", "voxtral")


def test_every_profile_but_remote_stands_without_further_settings() -> None:
    for profile in ("embedded", "mistral", "gpu"):
        settings = load_settings(None, {}, {"profile": profile})
        assert {"asr": settings.asr.kind, "llm": settings.llm.kind, "tts": settings.tts.kind} == PROFILES[profile]


def test_remote_needs_its_servers() -> None:
    parts = ("ASR", "LLM", "TTS")
    environment = {f"PARLEY_{part}__BASE_URL": "http://localhost:8000/v1" for part in parts}
    environment["PARLEY_LLM__MODEL"] = "some"
    settings = load_settings(None, environment, {"profile": "remote"})
    assert (settings.asr.kind, settings.llm.kind, settings.tts.kind) == ("vllm", "chat", "omni")


def test_any_part_can_be_of_another_profile() -> None:
    settings = load_settings(None, {"PARLEY_LLM__KIND": "mistral", "PARLEY_TTS__KIND": "espeak"}, {"profile": "gpu"})
    assert (settings.asr.kind, settings.llm.kind, settings.tts.kind) == ("voxtral", "mistral", "espeak")


def test_complete_weights_have_no_error(tmp_path: Path) -> None:
    for release in RELEASES.values():
        write_weights(tmp_path, release)
        assert integrity_error(tmp_path, release) is None


def test_each_error_of_weights_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    assert integrity_error(folder, TTS) == f"no folder {folder}"
    write_weights(folder, TTS)
    weights = folder / "consolidated.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert integrity_error(folder, TTS) == f"{weights} is truncated"
    weights.write_bytes(whole[:4])
    assert integrity_error(folder, TTS) == f"{weights} is truncated"
    weights.unlink()
    assert integrity_error(folder, TTS) == f"{folder} has no .safetensors file"
    weights.write_bytes(whole)
    (folder / MANIFEST).write_text(json.dumps({"consolidated.safetensors": len(whole) + 1, "tekken.json": 2}))
    assert integrity_error(folder, TTS) == f"{weights} is not {len(whole) + 1} bytes long"
    (folder / MANIFEST).write_text(json.dumps({"gone.safetensors": 1}))
    assert integrity_error(folder, TTS) == f"{folder} has no gone.safetensors"
    (folder / "voice_embedding" / "one.pt").unlink()
    assert integrity_error(folder, TTS) == f"{folder} has no voice_embedding/*.pt"


def test_gpus_as_the_driver_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771, 143000'\necho 'NVIDIA GB10, [N/A], [N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert gpus.find_gpus() == (Gpu("NVIDIA H200", 143771 << 20, 143000 << 20), Gpu("NVIDIA GB10", 0, 0))
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpus.find_gpus() == ()


def test_no_driver_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.find_gpus() == ()
    assert choose_profile(installed_engines(), tmp_path, {}).profile == "embedded"
