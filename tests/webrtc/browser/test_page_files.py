"""The page's files, without a browser: each names only files that are there, and each is named by another."""

import re
from importlib.resources import files
from pathlib import Path

PAGE = Path(str(files("webrtc.browser"))) / "page"

NAMED_IN_SCRIPT = re.compile(r'^(?:import|export) .*?from "(\..*?)";', re.MULTILINE)
NAMED_IN_MARKUP = re.compile(r'<(?:link|script|img)\b[^>]*?\b(?:href|src)="(.*?)"')


def named_by(path: Path) -> set[Path]:
    """The files that a file of the page loads."""
    pattern = {".js": NAMED_IN_SCRIPT, ".html": NAMED_IN_MARKUP}.get(path.suffix)
    found = pattern.findall(path.read_text()) if pattern else []
    return {(path.parent / name).resolve() for name in found}


def test_the_page_loads_all_of_its_files_and_no_other() -> None:
    loaded, waiting = set[Path](), {(PAGE / "index.html").resolve()}
    while waiting:
        path = waiting.pop()
        assert path.is_file(), f"{path} is loaded, but there is no such file"
        loaded.add(path)
        waiting |= named_by(path) - loaded
    assert loaded == {path.resolve() for path in PAGE.rglob("*") if path.is_file()}
