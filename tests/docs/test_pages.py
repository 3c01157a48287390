"""The pages for readers name files, folders and commands that there are."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def found(pattern: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for match in re.findall(pattern, page.read_text()):
            yield page, match


def test_links_lead_to_files() -> None:
    links = [(page, link) for page, link in found(r"\]\(([^)#:]+)[^)]*\)") if not link.startswith("http")]
    assert len(links) > 10
    assert not [(page.name, link) for page, link in links if not (page.parent / link).exists()]


def test_paths_are_in_the_checkout() -> None:
    rooms = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and path.name.isidentifier())
    paths = list(found(rf"`((?:{rooms})/[\w./-]*)`"))
    assert len(paths) > 10
    assert not [(page.name, path) for page, path in paths if not (ROOT / path).exists()]


def test_make_targets_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    targets |= set(re.findall(r"extra-\w+", (ROOT / "Makefile").read_text()))
    named = {target for _, target in found(r"(?m)(?:^\$ |`)make ([\w-]+)")}
    assert {"run", "test", "lint"} <= named <= targets


def test_commands_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    named = {command for _, command in found(r"(?:\$ |`)parley ([a-z]+)")}
    assert {"serve", "engine", "doctor"} <= named
    for command in named:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0, command
    assert "usage: parley" in capsys.readouterr().out


def test_what_the_examples_import_is_declared_to_stay() -> None:
    declared = set(re.findall(r"(?m)^\| `(parley[\w.]+)` \|", (ROOT / "docs" / "embedding.md").read_text()))
    imported = {module for _, module in found(r"(?m)^from (parley[\w.]*) import")}
    assert imported
    assert imported <= declared
