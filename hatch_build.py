"""Builds the wheel: the checkout's packages under one import package, `parley`, their absolute imports rewritten.

`from llm.interface import Message` becomes `from parley.llm.interface import Message`, so that Parley and a
stranger's `llm` live in one environment. What cannot be rewritten ends the build. An editable install keeps the
checkout's names; there `parley.py` gives the names of the wheel.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "parley"
PACKAGES = ("agent", "pipelines", "asr", "tts", "llm", "webrtc")
INIT = '"""Parley, a full-duplex voice agent. What may be imported from here is listed in docs/embedding.md."""\n'

_DOTTED = re.compile(r"(\w+)(\.\w+)+")


class CannotRewrite(Exception):
    """A line that would still mean the checkout's packages once it lies in the wheel."""


class OnePackage(BuildHookInterface[Any]):
    """Hatch's hook: writes the tree of the wheel into a folder of its own and has that included."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the tree, unless the build is of an editable install."""
        if version == "editable":
            return
        self._folder = TemporaryDirectory(prefix="parley-wheel-")  # removed with the hook, after the build
        write_package(Path(self.root), Path(self._folder.name))
        build_data["force_include"][self._folder.name] = NAME


def write_package(root: Path, target: Path) -> None:
    """Write the checkout's packages into `target`, data files as they are, Python files rewritten.

    Raises:
        CannotRewrite: a file names a package of ours in a way that cannot be rewritten.
    """
    (target / "__init__.py").write_text(INIT)
    (target / "py.typed").touch()
    for source in (path for package in PACKAGES for path in sorted((root / package).rglob("*"))):
        if source.is_dir() or "__pycache__" in source.parts:
            continue
        copy = target / source.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(rewrite_imports(source, root) if source.suffix == ".py" else source.read_bytes())


def rewrite_imports(path: Path, root: Path) -> bytes:
    """The file's text with `parley.` before every import of a package of ours.

    Raises:
        CannotRewrite: see `write_package`.
    """
    text = path.read_bytes()
    lines = text.splitlines(keepends=True)
    for line, column in sorted(_imports(ast.parse(text), path, root), reverse=True):
        code = lines[line - 1]
        found = re.match(rb"(from|import) (?=\w)", code[column:])
        if found is None:
            raise CannotRewrite(f"{path}:{line}: write the import on one line")
        start = column + found.end()
        lines[line - 1] = code[:start] + f"{NAME}.".encode() + code[start:]
    return b"".join(lines)


def _imports(tree: ast.AST, path: Path, root: Path) -> Iterator[tuple[int, int]]:
    """Line (from 1) and column (in bytes) of every import of a package of ours."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), level=0) if _is_ours(module):
                yield node.lineno, node.col_offset
            case ast.Import(names=names) if any(_is_ours(name.name) for name in names):
                if len(names) > 1 or names[0].asname is None:  # `import llm.x` binds `llm`, which the wheel has not
                    raise CannotRewrite(f"{path}:{node.lineno}: write `from package import module`")
                yield node.lineno, node.col_offset
            case ast.Constant(str(text)) if _names_a_module(text, root):
                raise CannotRewrite(f"{path}:{node.lineno}: make {text!r} relative to __package__")
            case ast.Call(ast.Name("files" | "import_module"), [ast.Constant(str(text)), *_]) if _is_ours(text):
                raise CannotRewrite(f"{path}:{node.lineno}: make {text!r} relative to __package__")
            case _:
                pass


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


def _names_a_module(text: str, root: Path) -> bool:
    """Whether it is a file's module; a folder's name may be that of a setting, such as agent.tools."""
    return bool(_DOTTED.fullmatch(text)) and root.joinpath(*text.split(".")).with_suffix(".py").is_file()
