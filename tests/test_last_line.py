"""What a run of the tests says last of those that it skipped, and that it may not skip any where all are wanted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import PATIENCE_S

ROOT = Path(__file__).parent.parent
SUITE = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_browser(require, number):
    require(False, "no browser; get one by magic")

def test_anvil(require):
    require(False, "no anvil; ask the smith")

def test_nothing(require):
    require(True, "no air")

def test_of_no_interest():
    pytest.skip("not today")
"""


def last_lines(folder: Path, *options: str, require_all: bool = False) -> tuple[int, list[str]]:
    """The exit status of a run of the suite, and the last three lines of what it prints."""
    (folder / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, "--rootdir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PARLEY_"))}
    if require_all:
        environment["PARLEY_REQUIRE_ALL"] = "1"
    run = subprocess.run(
        [*command, *options, str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return run.returncode, run.stdout.splitlines()[-3:]


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_each_thing_that_is_missing_is_named_once_at_the_very_end(tmp_path: Path, options: tuple[str, ...]) -> None:
    status, (summary, *missing) = last_lines(tmp_path, *options)
    assert status == 0
    assert "1 passed, 4 skipped" in summary
    assert missing == ["Skipped: no anvil; ask the smith", "Skipped: no browser; get one by magic"]


def test_where_everything_is_wanted_what_is_missing_fails(tmp_path: Path) -> None:
    status, (*_, summary) = last_lines(tmp_path, require_all=True)
    assert status == 1
    assert "3 failed, 1 passed, 1 skipped" in summary
