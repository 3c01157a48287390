"""The table of floors: who may import whom, and where the large libraries may appear."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("agent", "pipelines", "asr", "tts", "llm", "webrtc")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "agent": FLOORS,
    "pipelines": (
        "pipelines",
        "asr.interface",
        "asr.config",
        "tts.interface",
        "tts.config",
        "tts.spoken_text",
        "llm.interface",
        "llm.config",
        "webrtc.interface",
    ),
    "asr": ("asr", "llm"),
    "tts": ("tts", "llm"),
    "llm": ("llm",),
    "webrtc": ("webrtc",),
}

HOME_OF = {
    "pipecat": ("pipelines",),
    "aiortc": ("webrtc",),
    "av": ("webrtc", "agent"),
    "torch": ("llm", "asr", "tts"),
    "aiomqtt": ("agent",),
    "ray": ("agent",),
}

# Loaded on a machine without torch: interfaces, configuration, remote engines and those that need no weights.
WITHOUT_TORCH = ("interface", "config", "remote", "sphinx", "espeak", "demo", "spoken_text", "clauses")


def sources(floor: str) -> list[Path]:
    return sorted((ROOT / floor).rglob("*.py"))


def imports(path: Path, *, at_module_level: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_module_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == a or name.startswith(a + ".") for a in allowed)


@pytest.mark.parametrize("floor", FLOORS)
def test_calls_go_down(floor: str) -> None:
    assert sources(floor)
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(floor)
        for name in imports(path)
        if name.split(".")[0] in FLOORS and not within(name, MAY_IMPORT[floor])
    ]
    assert not broken


@pytest.mark.parametrize("library", sorted(HOME_OF))
def test_libraries_stay_at_home(library: str) -> None:
    strangers = [
        str(path.relative_to(ROOT))
        for floor in FLOORS
        if floor not in HOME_OF[library]
        for path in sources(floor)
        if any(name.split(".")[0] == library for name in imports(path))
    ]
    assert not strangers


def test_only_one_file_names_concrete_engines() -> None:
    interfaces = tuple(f"{f}.{m}" for f in ("asr", "tts", "llm") for m in ("interface", "config", "spoken_text"))
    elsewhere = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("agent")
        if path.parent.name != "engines"
        for name in imports(path)
        if name.split(".")[0] in ("asr", "tts", "llm") and not within(name, interfaces)
    ]
    assert not elsewhere


def test_light_modules_need_no_torch() -> None:
    heavy = [
        str(path.relative_to(ROOT))
        for floor in ("asr", "tts", "llm")
        for path in sources(floor)
        if path.stem in WITHOUT_TORCH and any(name.split(".")[0] == "torch" for name in imports(path))
    ]
    assert not heavy
