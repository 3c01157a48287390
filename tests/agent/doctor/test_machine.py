"""What the doctor finds on machines that lack something."""

import socket
from collections.abc import Sequence

import pytest

from agent.doctor import machine
from agent.doctor.machine import Finding, check_machine
from agent.doctor.report import Diagnosis, report
from agent.engines.configure import load_settings
from agent.engines.registry import installed_engines


async def find(name: str, port: int = 0) -> Finding:
    settings = load_settings(None, {}, {"server": {"port": port}})
    (found,) = [finding for finding in await check_machine(settings, installed_engines()) if finding.name == name]
    return found


async def test_a_taken_port_names_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = await find(f"port {port}", port)
    assert found.status == "warning"
    assert "--port 0" in found.remedy


async def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    required = ["aiohttp>=3", "surely-not-installed>=1", 'torch==2; extra == "engines"']

    def requires(_: str) -> Sequence[str]:
        return required

    monkeypatch.setattr(machine, "requires", requires)
    found = await find("packages")
    assert found.status == "missing"
    assert found.found == "not installed: surely-not-installed"
    assert found.remedy == "python -m pip install surely-not-installed"


async def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "version_info", (3, 10, 1))
    assert (await find("python")).status == "missing"


async def test_udp_reaches_itself() -> None:
    assert (await find("udp")).status == "ok"


def test_only_what_is_missing_prevents_serving() -> None:
    for status, can_serve in (("ok", True), ("warning", True), ("missing", False)):
        finding = Finding("TTS", status, "espeak: found", "do this")  # pyright: ignore[reportArgumentType]
        diagnosis = Diagnosis((), {"embedded": (finding,)}, chosen="embedded")
        assert diagnosis.can_serve is can_serve
        assert diagnosis.as_json()["can_serve"] is can_serve
        lines = report(diagnosis)
        assert any("espeak: found; do this" in line for line in lines)
        assert ("ready: parley serve" in lines) is can_serve


async def test_run_from_its_folder_without_being_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PACKAGE", "parley-that-nobody-installed")
    assert (await find("packages")).status == "warning"
