"""docs/settings.md is what `parley settings` prints, and every setting on it is described."""

from pathlib import Path

import pytest

from agent import cli
from agent.settings_page import settings_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_page_in_the_documentation_is_current() -> None:
    assert PAGE.read_text() == settings_page(), "run: parley settings > docs/settings.md"


def test_every_setting_is_described() -> None:
    rows = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.split("|")[3].strip() == ""] == []


@pytest.mark.parametrize(
    "row", ["| `server.port` | `7860` |", "| `tts.checkpoint` | required |", "| `profile` | `auto` |"]
)
def test_rows_show_defaults(row: str) -> None:
    assert row in settings_page()


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settings"]) == 0
    assert capsys.readouterr().out == settings_page()
