"""What the doctor says that a profile lacks, and the command that fixes it."""

import asyncio
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import extras
from agent.checkpoints.gpus import Gpu
from agent.doctor import needs as needs_module
from agent.doctor.machine import Finding
from agent.doctor.needs import check_needs
from agent.doctor.report import examine
from agent.engines.configure import load_settings
from agent.engines.profiles import releases_of
from agent.engines.registry import installed_engines
from agent.settings.config import PARTS, Part, Settings

GB = 1_000_000_000
LARGE = (Gpu("H200", 150 * GB, 140 * GB),)


def settings_of(profile: str, models: Path | str = "/no/models", **parts: Any) -> Settings:
    return load_settings(None, {}, {"profile": profile, "models": str(models), **parts})


async def find(
    name: str, settings: Settings, *, gpus: Sequence[Gpu] = (), environment: dict[str, str] | None = None
) -> list[Finding]:
    found = await check_needs(settings, installed_engines(), environment or {}, lambda: gpus)
    return [finding for finding in found if finding.name == name]


async def test_the_embedded_profile_needs_nothing() -> None:
    assert await check_needs(settings_of("embedded"), installed_engines(), {}, lambda: ()) == []


async def test_missing_weights_name_command_and_license() -> None:
    found = await find("weights", settings_of("gpu"))
    assert [finding.status for finding in found] == ["missing"] * 3
    assert found[2].found == "Voxtral-4B-TTS-2603: no folder /no/models/Voxtral-4B-TTS-2603"
    assert found[2].remedy == "run: parley download Voxtral-4B-TTS-2603 (CC BY-NC 4.0)"


async def test_whole_weights(tmp_path: Path) -> None:
    header = json.dumps({"weight": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    for release in releases_of("gpu", installed_engines()):
        folder = release.folder(tmp_path)
        (folder / "voice_embedding").mkdir(parents=True)
        for name in ("params.json", "tekken.json", "voice_embedding/one.pt"):
            (folder / name).write_text("{}")
        (folder / "consolidated.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    found = await find("weights", settings_of("gpu", tmp_path))
    assert [finding.status for finding in found] == ["ok"] * 3


async def test_memory_against_what_the_chosen_engines_need() -> None:
    for gpus, status, remedy in (
        (LARGE, "ok", ""),
        ((Gpu("RTX 4090", 24 * GB, 23 * GB),), "missing", "lower slots"),
        ((Gpu("H200", 150 * GB, 10 * GB),), "warning", "stop what uses the GPU"),
        ((Gpu("GB10", 0, 0),), "ok", ""),  # shares the machine's memory
        ((), "missing", "take another profile"),
    ):
        (found,) = await find("gpu", settings_of("gpu"), gpus=gpus)
        assert found.status == status
        assert found.remedy.startswith(remedy)


async def test_two_devices_are_counted_apart() -> None:
    settings = settings_of("gpu", tts={"device": "cuda:1"})
    first, second = await find("gpu", settings, gpus=LARGE)
    assert first.found.startswith("cuda, H200")
    assert first.status == "ok"
    assert second.found.startswith("cuda:1: no such GPU")
    assert second.status == "missing"


def device_bytes(settings: Settings) -> dict[Part, int]:
    def of(part: Part) -> int:
        (config,) = settings.chain(part)
        return installed_engines().spec(part, config).needs(config).device_bytes

    return {part: of(part) for part in PARTS}


def test_memory_follows_the_settings() -> None:
    sizes = device_bytes(settings_of("gpu"))
    # 64 streams of 60 s: 17.9 GB of cache, 8.9 of weights; 64 utterances of 768 tokens: 5.2 and 8.0
    assert sizes["asr"] == pytest.approx((17.7 + 8.9 + 1.5) * GB, rel=0.02)
    assert sizes["tts"] == pytest.approx((5.2 + 8.0 + 1.5) * GB, rel=0.02)
    assert sizes["llm"] == pytest.approx((9.1 + 17 + 1.5) * GB, rel=0.02)
    assert device_bytes(settings_of("gpu", tts={"slots": 8}))["tts"] < sizes["tts"] - 4 * GB
    assert device_bytes(settings_of("gpu", tts={"device": "cpu"}))["tts"] == 0


async def test_one_key_for_all_three_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment, status in (({"MISTRAL_API_KEY": "k"}, "ok"), ({}, "missing")):
        monkeypatch.setattr(needs_module, "_CONNECT_LIMIT_S", 0.01)
        (found,) = await find("key", settings_of("mistral"), environment=environment)
        assert found.status == status
        assert found.remedy == ("" if status == "ok" else "run: export MISTRAL_API_KEY=...")


async def test_servers_are_asked_for_a_connection_once_each() -> None:
    connections: list[object] = []
    server = await asyncio.start_server(lambda reader, writer: connections.append(writer.close()), "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        parts: dict[str, Any] = {"asr": {"base_url": url}, "llm": {"base_url": url, "model": "m"}}
        settings = settings_of("remote", **parts, tts={"base_url": "http://127.0.0.1:1/v1"})
        there, gone = await find("server", settings)
    assert (there.status, there.found) == ("ok", f"{url} answers")
    assert gone.status == "missing"
    assert gone.remedy == "start it, or correct base_url"
    assert len(connections) == 1


async def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    (found,) = await find("packages", settings_of("gpu"))
    assert found.remedy == "run: make extra-engines"
    quantized = await find("packages", settings_of("gpu", tts={"quantization": "int8"}))
    assert [finding.found for finding in quantized] == ["torch is not installed", "torchao is not installed"]


async def test_engines_that_take_over_are_counted() -> None:
    settings = settings_of("embedded", fallback={"tts": [{"kind": "omni", "base_url": "http://127.0.0.1:1/v1"}]})
    (gone,) = await find("server", settings)
    assert gone.status == "missing"


async def test_every_profile_is_told_and_only_the_chosen_one_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs_module, "_CONNECT_LIMIT_S", 0.01)
    diagnosis = await examine(settings_of("embedded"), installed_engines(), {})
    assert list(diagnosis.profiles) == ["embedded", "mistral", "gpu", "remote"]
    assert diagnosis.chosen == "embedded"
    assert diagnosis.can_serve
    for name in ("mistral", "gpu", "remote"):
        missing = [finding for finding in diagnosis.profiles[name] if finding.status == "missing"]
        assert missing
        assert all(finding.remedy for finding in missing)


async def test_an_engine_with_another_behind_it_is_tried_by_itself() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        broken = {"kind": "omni", "base_url": f"http://127.0.0.1:{port}/v1", "retry_limit_s": 0}
        settings = settings_of("embedded", tts=broken, fallback={"tts": [{"kind": "espeak"}]})
        diagnosis = await examine(settings, installed_engines(), {})
    tried = [found for found in diagnosis.profiles[diagnosis.chosen] if found.name == "TTS"]
    assert [(found.found.partition(":")[0], found.status) for found in tried] == [
        ("omni", "missing"),
        ("espeak", "ok"),
    ]
