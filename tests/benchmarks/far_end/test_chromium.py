"""Where a Chromium is found, and how one is got where there is none: nothing is started, nothing installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.far_end import browser

SYSTEM = "/usr/bin/chromium"
DOWNLOADED = "/home/someone/.cache/ms-playwright/chrome"
DOWNLOAD = (sys.executable, "-m", "playwright", "install", "chromium")
UPDATE = ("apt-get", "update", "-qq")


@dataclass
class Machine:
    """What starts on it, what an installation would add, and what was run."""

    starts: set[str] = field(default_factory=set)
    installable: dict[str, str] = field(default_factory=dict)  # by the program that installs it
    has_apt: bool = True
    ran: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, command: Sequence[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        if command[1:] == ["--version"]:
            if command[0] not in self.starts:
                raise FileNotFoundError(command[0])
            return subprocess.CompletedProcess(command, 0, "", "")
        self.ran.append(tuple(command))
        if tuple(command) == UPDATE:
            return subprocess.CompletedProcess(command, 0, "", "")
        got = self.installable.get(command[0])
        if got is None:
            return subprocess.CompletedProcess(command, 1, "", "begun\nError: no network\nat line 7")
        self.starts.add(got)
        return subprocess.CompletedProcess(command, 0, "", "")

    def which(self, program: str) -> str | None:
        return {"chromium": SYSTEM, "apt-get": "/usr/bin/apt-get" if self.has_apt else None}.get(program)

    @contextmanager
    def playwright(self) -> Iterator[Any]:
        yield SimpleNamespace(chromium=SimpleNamespace(executable_path=DOWNLOADED))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine of root's, with no browser that starts and no network."""
    machine = Machine()
    monkeypatch.setattr(subprocess, "run", machine.run)
    monkeypatch.setattr(shutil, "which", machine.which)
    monkeypatch.setattr(browser, "sync_playwright", machine.playwright)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return machine


def test_the_systems_is_preferred_if_it_starts(machine: Machine) -> None:
    assert browser.find_chromium() is None
    machine.starts = {DOWNLOADED}
    assert browser.find_chromium() == DOWNLOADED
    machine.starts = {DOWNLOADED, SYSTEM}
    assert browser.find_chromium() == SYSTEM


def test_where_there_is_one_nothing_is_installed(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.starts = {SYSTEM}
    assert browser.main() == 0
    assert machine.ran == []
    assert capsys.readouterr().out == f"Browser: {SYSTEM}\n"


def test_playwrights_is_downloaded_first(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.installable = {sys.executable: DOWNLOADED, "apt-get": SYSTEM}
    assert browser.main() == 0
    assert machine.ran == [DOWNLOAD]
    assert capsys.readouterr().out.splitlines()[-1] == f"Browser: {DOWNLOADED}"


def test_root_installs_the_systems_where_the_download_fails(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.installable = {"apt-get": SYSTEM}
    assert browser.get_chromium() == SYSTEM
    download, update, install = machine.ran
    assert (download, update) == (DOWNLOAD, UPDATE)
    assert install[:3] == ("apt-get", "install", "-y")
    assert install[-1] == "chromium"
    assert "  failed: Error: no network" in capsys.readouterr().out


def test_a_download_that_does_not_start_is_not_taken(machine: Machine) -> None:
    machine.installable = {sys.executable: "/somewhere/else", "apt-get": SYSTEM}
    assert browser.get_chromium() == SYSTEM


def test_nobody_but_root_and_debian_asks_apt_and_the_end_says_how_to_get_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.installable = {"apt-get": SYSTEM}
    machine.has_apt = False
    assert browser.main() == 0
    machine.has_apt = True
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert browser.main() == 0
    assert machine.ran == [DOWNLOAD, DOWNLOAD]
    assert capsys.readouterr().out.splitlines()[-1] == f"Browser: {browser.NOT_FOUND}"


def test_an_installation_that_hangs_is_given_up(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hang(command: Sequence[str], *, timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert browser.get_chromium() is None
    assert "  gave up after 900 s" in capsys.readouterr().out
