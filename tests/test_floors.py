"""The table of floors and rooms: who may import whom, where large libraries may appear, how large a room may grow."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("agent", "pipelines", "asr", "tts", "llm", "webrtc")
MOST_FILES = 15  # beside each other in one folder
MOST_LINES = 300

CALL = ("pipelines.activity", "pipelines.events", "pipelines.turn_taking", "webrtc.interface", "webrtc.media.pcm")
INTERFACES = ("asr.interface", "llm.interface", "tts.interface", "webrtc.interface")

# A file is in the room with the longest name that it lies in; each room may import itself and what stands here.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "webrtc.interface": (),
    "webrtc.config": ("webrtc",),
    "webrtc.media": ("webrtc.interface", "webrtc.config"),
    "webrtc.http": (),
    "webrtc.peer": ("webrtc.interface", "webrtc.config", "webrtc.media"),
    "webrtc.browser": ("webrtc.interface", "webrtc.config", "webrtc.peer", "webrtc.http"),
    "llm": ("llm",),
    "llm.runtime": (),
    "llm.endpoint": (),
    "llm.demo": ("llm.interface", "llm.config"),
    "llm.remote": ("llm.interface", "llm.config", "llm.endpoint"),
    "llm.ministral": ("llm.interface", "llm.config", "llm.runtime"),
    "asr": ("asr", "llm.endpoint.config", "llm.failover"),
    "asr.sphinx": ("asr.interface", "asr.config"),
    "asr.remote": ("asr.interface", "asr.config", "llm.endpoint"),
    "asr.voxtral": ("asr.interface", "asr.config", "llm.runtime"),
    "tts": ("tts", "llm.endpoint.config", "llm.failover"),
    "tts.espeak": ("tts.interface", "tts.config"),
    "tts.remote": ("tts.interface", "tts.config", "tts.chunks", "tts.voices", "llm.endpoint"),
    "tts.voxtral": ("tts.interface", "tts.config", "tts.chunks", "tts.voices", "llm.runtime"),
    "pipelines": (
        "pipelines",
        *("asr.interface", "asr.config", "tts.interface", "tts.config", "tts.spoken_text"),
        *("llm.interface", "llm.config", "webrtc.interface", "webrtc.media.pcm"),
    ),
    "pipelines.turn_taking": (),
    "pipelines.listening": (*CALL, "asr.interface", "pipelines.config", "pipelines.frames"),
    "pipelines.speaking": (*CALL, "tts.interface", "tts.spoken_text", "pipelines.config", "pipelines.frames"),
    "pipelines.replying": (*CALL, "llm.interface", "pipelines.config", "pipelines.frames"),
    "agent": FLOORS,
    "agent.settings": (
        *("agent.errors", "agent.tools.config"),
        *("pipelines.config", "webrtc.config"),
    ),
    "agent.engines": (*FLOORS[1:], "agent.errors", "agent.extras", "agent.checkpoints", "agent.settings"),
    "agent.checkpoints": ("agent.errors", "agent.extras"),
    "agent.tools": ("agent.errors", "agent.extras", "llm.interface", "pipelines.replying.tool_runs"),
    "agent.commands": ("agent.errors", *INTERFACES, "tts.spoken_text", "pipelines", "webrtc.media.pcm"),
    "agent.doctor": (
        *("agent.errors", "agent.extras", "agent.settings", "agent.engines", "agent.checkpoints", "agent.commands"),
        *INTERFACES,
    ),
    "agent.engine_server": (
        *("agent.errors", "agent.settings", "agent.engines", "agent.serving.gc_pauses", "agent.serving.lifetime"),
        *("agent.prometheus", "agent.commands.audio_files", *INTERFACES, "webrtc.http", "webrtc.media.pcm"),
    ),
    "agent.serving": (
        *("agent.errors", "agent.log", "agent.prometheus", "agent.settings", "agent.engines", "agent.tools"),
        *("pipelines.call", "pipelines.events", "webrtc"),
    ),
}

HOME_OF: Mapping[str, tuple[str, ...]] = {
    "pipecat": ("pipelines",),
    "aiortc": ("webrtc.peer",),
    "aiohttp": ("webrtc.http", "webrtc.browser", "llm.endpoint", "llm.remote", "asr.remote", "tts.remote", "agent"),
    "av": ("webrtc.media", "webrtc.peer", "agent"),
    "torch": ("llm.runtime", "llm.ministral", "asr.voxtral", "tts.voxtral"),
    "aiomqtt": ("agent",),
    "ray": ("agent",),
}
PURE = "pipelines.turn_taking"
NOT_PURE = ("pipecat", "asyncio", "numpy", "time", "threading")


def module_of(path: Path, root: Path = ROOT) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str) -> Iterator[str]:
    """Every module that the source imports, at its top or inside; a name that is imported counts with its module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def faults(module: str, source: str) -> list[str]:
    """What the file imports against the table."""
    room = max((room for room in ROOMS if within(module, room)), key=len, default=module.split(".", maxsplit=1)[0])
    found: list[str] = []
    for name in imports(source):
        top = name.split(".")[0]
        if top in FLOORS and not within(name, room, *ROOMS.get(room, FLOORS)):
            found.append(f"{module} is in {room}, which may not import {name}")
        if top in HOME_OF and not within(module, *HOME_OF[top]):
            found.append(f"{module} imports {top}, which lives in {', '.join(HOME_OF[top])}")
        if within(module, PURE) and top in NOT_PURE:
            found.append(f"{module} is pure, and may not import {top}")
    return found


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_file_keeps_to_its_room() -> None:
    assert [fault for path in files(*FLOORS) for fault in faults(module_of(path), path.read_text())] == []


def test_every_room_of_the_table_exists() -> None:
    for room in ROOMS:
        path = ROOT.joinpath(*room.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), room


def test_a_wrong_import_is_found() -> None:
    for module, source, fault in (
        ("llm.runtime.cache", "from llm.interface import Message", "llm.runtime.cache is in llm.runtime"),
        ("llm.demo.model", "import torch", "llm.demo.model imports torch"),
        ("asr.remote.engine", "from asr.voxtral import stream", "asr.remote.engine is in asr.remote"),
        ("tts.espeak.engine", "def f():\n    from llm.ministral.engine import x", "tts.espeak.engine is in tts.espeak"),
        ("webrtc.media.playout", "from webrtc.peer.call import PeerCall", "webrtc.media.playout is in webrtc.media"),
        ("webrtc.media.playout", "import aiortc", "webrtc.media.playout imports aiortc"),
        ("pipelines.call", "from webrtc.peer.call import PeerCall", "pipelines.call is in pipelines"),
        ("pipelines.turn_taking.machine", "import asyncio", "pipelines.turn_taking.machine is pure"),
        ("pipelines.turn_taking.machine", "from pipelines.frames import x", "pipelines.turn_taking.machine is in"),
        ("agent.settings.config", "from agent.serving.server import serve", "agent.settings.config is in"),
        ("agent.serving.server", "from agent.cli import main", "agent.serving.server is in agent.serving"),
        ("pipelines.listening.vad", "from pipelines.replying.reply import x", "pipelines.listening.vad is in"),
        ("agent.settings.layers", "from agent.engines.registry import Registry", "agent.settings.layers is in"),
    ):
        assert [found for found in faults(module, source) if found.startswith(fault)], (module, source)
    assert not faults("asr.remote.engine", "from llm.endpoint.client import Endpoint")


def test_no_files_import_each_other_in_a_circle() -> None:
    known = {module_of(path): path for path in files(*FLOORS)}
    arrows = {
        module: {
            longest for name in imports(path.read_text()) if (longest := _file_of(name, known)) not in (None, module)
        }
        for module, path in known.items()
    }
    while leaves := [module for module, targets in arrows.items() if not targets & arrows.keys()]:
        for leaf in leaves:
            del arrows[leaf]
    assert not arrows, f"a circle among {sorted(arrows)}"


def _file_of(name: str, known: Mapping[str, Path]) -> str | None:
    """The file that an import names; packages themselves only hand names on."""
    for candidate in (name, name.rpartition(".")[0]):
        if candidate in known and known[candidate].name != "__init__.py":
            return candidate
    return None


def test_no_room_is_too_full_and_no_file_too_long() -> None:
    code = [path for folder in (*FLOORS, "benchmarks", "tests") for path in (ROOT / folder).rglob("*")]
    code = [path for path in code if path.suffix in (".py", ".js", ".css") and "__pycache__" not in path.parts]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in code
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long
    beside: dict[Path, int] = {}
    for path in code:
        beside[path.parent] = beside.get(path.parent, 0) + 1
    assert not {str(folder.relative_to(ROOT)): count for folder, count in beside.items() if count > MOST_FILES}
