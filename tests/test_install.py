""".ci/install.py on a pip that only talks: what it is asked for, and what the user sees of it."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PIP = """
import json, pathlib, sys
with pathlib.Path(sys.argv[1]).open("a") as asked:
    print(json.dumps(sys.argv[3:]), file=asked)
print("Obtaining file:///parley")
print("Collecting numpy==2.4.0 (from -r requirements.txt (line 3))")
print("  Downloading numpy-2.4.0-cp311-manylinux_x86_64.whl.metadata (6.6 kB)")
print("  Downloading numpy-2.4.0-cp311-manylinux_x86_64.whl (16.9 MB)")
print("Collecting aiohttp")
print("  Using cached aiohttp-3.14-py3-none-any.whl (1.7 MB)")
print("Installing collected packages: numpy, aiohttp, parley-voice")
sys.exit(int(sys.argv[2]))
"""
SEEN = "    1  numpy  16.9 MB\n    2  aiohttp\n  unpacking 3 packages\n"


@pytest.fixture
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ci_install", ROOT / ".ci" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A file with a line for each run of pip: its options."""
    return tmp_path / "asked"


def speak_to_fake_pip(module: ModuleType, asked: Path, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
    pip = asked.parent / "pip.py"
    pip.write_text(PIP)
    monkeypatch.setattr(module, "PIP", (sys.executable, str(pip), str(asked), str(status)))


def runs(asked: Path) -> list[list[str]]:
    return [json.loads(line) for line in asked.read_text().splitlines()]


def test_a_call_needs_what_requirements_names_and_no_more(
    install: ModuleType, asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speak_to_fake_pip(install, asked, monkeypatch)
    assert install.main("base") == 0
    assert runs(asked) == [["--no-deps", "--requirement", "requirements.txt", "--editable", "."]]
    assert capsys.readouterr().out == SEEN


def test_the_tests_need_every_extra_but_not_parley_again(
    install: ModuleType, asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speak_to_fake_pip(install, asked, monkeypatch)
    assert install.main("test") == 0
    _, extras = runs(asked)
    names = {option.partition(">")[0].partition("=")[0] for option in extras}
    assert {"torch", "torchao", "mistralai", "mcp", "pytest"} <= names  # one of each extra
    assert not any(option.startswith("parley") for option in extras)
    assert extras[extras.index("--constraint") + 1] == "constraints.txt"
    assert capsys.readouterr().out == 2 * SEEN


def test_a_failing_pip_is_the_end(install: ModuleType, asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak_to_fake_pip(install, asked, monkeypatch, status=3)
    assert install.main("test") == 3
    assert len(runs(asked)) == 1
