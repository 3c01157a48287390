"""Which engines there are, and what becomes of rows that cannot be used."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from agent.engines import registry as registry_module
from agent.engines.registry import ENTRY_POINTS, find_entry_points, read_registry
from agent.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
ROW = """
from typing import Literal
from pydantic import BaseModel
from agent.engines.spec import EngineSpec

class Config(BaseModel):
    kind: {kind}

SPEC = EngineSpec(part={part!r}, config=Config, start=lambda config, resources: None)
NOT_A_SPEC = "espeak"
"""
GOOD = ROW.format(kind='Literal["theirs"] = "theirs"', part="tts")


def test_reading_the_rows_imports_no_engine() -> None:
    code = (
        "import sys; from agent.engines.registry import installed_engines; assert installed_engines().specs; "
        "large = {'torch', 'aiohttp', 'pocketsphinx', 'pipecat', 'mistralai'} & set(sys.modules); "
        "print(sorted(large), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]"


def test_a_row_that_cannot_be_used_costs_one_warning(install: Any, caplog: pytest.LogCaptureFixture) -> None:
    broken = {
        "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
        "exits": ("raise SystemExit('bye')", "SystemExit: bye"),
        "absent": ("", "AttributeError: module 'absent' has no attribute 'SPEC'"),
        "kindless": (ROW.format(kind="str", part="tts"), "TypeError: Config has no field `kind: Literal"),
        "two_kinds": (ROW.format(kind='Literal["a", "b"] = "a"', part="tts"), "TypeError: Config has no field `kind:"),
        "partless": (ROW.format(kind='Literal["a"] = "a"', part="ears"), "TypeError: wanted a part of asr, llm, tts"),
    }
    for module, (source, _) in broken.items():
        install(f"of-{module}", module, source, f"[{ENTRY_POINTS}]\ntts.x = {module}:SPEC\n")
    install("good", "good", GOOD, f"[{ENTRY_POINTS}]\ntts.theirs = good:SPEC\ntts.wrong = good:NOT_A_SPEC\n")
    registry = read_registry(find_entry_points())
    assert "theirs" in registry.of("tts")
    assert {"sphinx", "voxtral", "vllm", "mistral"} <= set(registry.of("asr"))
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sorted(lines) == sorted(registry.broken)
    assert len(lines) == len(broken) + 1
    for module, (_, reason) in broken.items():
        (line,) = [line for line in lines if f"of of-{module} " in line]
        assert line.startswith(f"engine tts.x of of-{module} cannot be used ({reason}")
        assert line.endswith(f"; fix or uninstall of-{module}")
        assert "\n" not in line
    assert any("wanted an EngineSpec, found str" in line for line in lines)


def test_two_engines_of_one_name_are_one_error(install: Any) -> None:
    source = ROW.format(kind='Literal["espeak"] = "espeak"', part="tts")
    install("another-espeak", "another_espeak", source, f"[{ENTRY_POINTS}]\nmine = another_espeak:SPEC\n")
    with pytest.raises(ConfigError) as caught:
        read_registry(find_entry_points())
    assert caught.value.lines == (
        "tts: two engines are called espeak, of parley-voice and another-espeak; uninstall one",
    )


WHISTLE = """
from contextlib import nullcontext
from typing import Literal
from pydantic import BaseModel
from agent.engines.spec import EngineSpec
from tts.interface import Voice

class Config(BaseModel):
    \'\'\'Whistles.\'\'\'
    kind: Literal["whistle"] = "whistle"
    voice: str

class Whistle:
    sample_rate_hz = 24000
    def __init__(self, config):
        self.voices = (Voice(config.voice, "en", "Whistled"),)

SPEC = EngineSpec(part="tts", config=Config, start=lambda config, resources: nullcontext(Whistle(config)))
"""


def test_voices_of_somebody_elses_engine_are_listed(install: Any, tmp_path: Path) -> None:
    install("whistle", "whistle", WHISTLE, f"[{ENTRY_POINTS}]\ntts.whistle = whistle:SPEC\n")
    environment = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "PARLEY_TTS__KIND": "whistle",
        "PARLEY_TTS__VOICE": "blackbird",
    }
    command = [sys.executable, "-m", "agent", "voices"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["blackbird", "en", "Whistled"]
    assert done.stderr == ""


def test_the_same_name_in_another_part_is_another_engine(install: Any) -> None:
    source = ROW.format(kind='Literal["espeak"] = "espeak"', part="llm")
    install("espeak-thinks", "espeak_thinks", source, f"[{ENTRY_POINTS}]\nmine = espeak_thinks:SPEC\n")
    assert read_registry(find_entry_points()).of("llm")["espeak"].part == "llm"


def test_ours_are_found_in_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "entry_points", lambda group: ())
    assert len(read_registry(find_entry_points()).specs) == 12


def test_ours_are_found_where_they_are_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = (EntryPoint("tts.espeak", "parley.agent.engines.synthesizers:ESPEAK", ENTRY_POINTS),)
    monkeypatch.setattr(registry_module, "entry_points", lambda group: installed)
    monkeypatch.setattr(registry_module, "PROJECT", tmp_path / "pyproject.toml")
    assert [spec.kind for spec in read_registry(find_entry_points()).specs] == ["espeak"]
