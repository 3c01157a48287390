"""Finds a Chromium. Run as a program it gets one where there is none: `python -m benchmarks.far_end.browser`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from playwright.sync_api import sync_playwright

# The binary itself first: Debian's wrapper script adds flags and a network service of its own.
PROGRAMS = ("/usr/lib/chromium/chromium", "chromium", "chromium-browser", "google-chrome")
NOT_FOUND = "no Chromium was found; get one by `apt-get install chromium` or `python -m playwright install chromium`"
START_LIMIT_S = 60.0
INSTALL_LIMIT_S = 900.0


def find_chromium() -> str | None:
    """Path of a Chromium that starts: the system's, else the one that Playwright has downloaded."""
    return next(filter(_starts, _candidates()), None)


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, PROGRAMS))
    with sync_playwright() as playwright:
        yield playwright.chromium.executable_path


def _starts(path: str) -> bool:
    """Whether it is there, with all the libraries that it needs."""
    try:
        return (
            subprocess.run([path, "--version"], capture_output=True, timeout=START_LIMIT_S, check=False).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def get_chromium() -> str | None:
    """Path of a Chromium, installed if need be; what is tried is said."""
    found = find_chromium()
    if found is not None:
        return found
    for what, commands in _ways():
        print(f"No Chromium was found: {what}", flush=True)
        if all(map(_succeeds, commands)) and (found := find_chromium()) is not None:
            return found
    return None


def _ways() -> Iterator[tuple[str, Sequence[Sequence[str]]]]:
    yield "downloading Playwright's", [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") is not None and os.geteuid() == 0:
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        yield "installing the system's (apt-get install chromium)", [["apt-get", "update", "-qq"], install]


def _succeeds(command: Sequence[str]) -> bool:
    """Run it; where it fails, say its last line."""
    environment: Mapping[str, str] = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"  gave up after {INSTALL_LIMIT_S:.0f} s")
        return False
    if run.returncode:
        lines = (run.stderr or run.stdout).strip().splitlines()
        print("  failed:", next((line for line in lines if "rror" in line), "".join(lines[-1:])), flush=True)
    return run.returncode == 0


def main() -> int:
    """Find a browser or get one; where none can be had, the tests that need one say so."""
    found = get_chromium()
    print(f"Browser: {found}" if found else f"Browser: {NOT_FOUND}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
