"""docs/settings.md and examples/agent.toml are what `parley settings` prints, and every setting is described."""

from pathlib import Path

import pytest

from agent import cli
from agent.engines.configure import load_settings
from agent.engines.registry import find_entry_points, read_registry
from agent.settings.example import example_page
from agent.settings.reference import settings_page

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "settings.md"
OWN = read_registry(point for point in find_entry_points() if point.dist is None).settings  # not a visitor's
EXAMPLE = ROOT / "examples" / "agent.toml"


def test_the_page_in_the_documentation_is_current() -> None:
    assert PAGE.read_text() == settings_page(OWN), "run: parley settings > docs/settings.md"


def test_every_setting_is_described() -> None:
    rows = [line for line in settings_page(OWN).splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.split("|")[3].strip() == ""] == []


def test_rows_show_defaults() -> None:
    for row in (
        "| `server.port` | `7860` |",
        "| `tts.checkpoint` | required |",
        "| `profile` | `auto` |",
    ):
        assert row in settings_page(OWN)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settings"]) == 0
    assert capsys.readouterr().out == settings_page(OWN)


def test_the_example_is_current() -> None:
    assert EXAMPLE.read_text() == example_page(OWN), "run: parley settings --toml > examples/agent.toml"


def test_the_example_changes_nothing_as_it_is() -> None:
    assert load_settings(EXAMPLE, {}) == load_settings(None, {})


def test_every_setting_of_the_example_can_be_made_and_is_the_default(tmp_path: Path) -> None:
    made: list[str] = []
    is_engine = False  # tables that are alternatives, or that want names and values of the user's
    for line in example_page(OWN).splitlines():
        if line.startswith(("#: [", "[")):
            is_engine = line.startswith("#:")
        made.append(line.removeprefix("#: ") if not is_engine and not line.endswith("= ...") else line)
    file = tmp_path / "agent.toml"
    file.write_text("\n".join(made))
    assert len([line for line in made if " = " in line and not line.startswith("#")]) > 60
    assert load_settings(file, {}) == load_settings(None, {})


def test_the_example_names_every_setting_of_the_page() -> None:
    names = {
        line.split("`")[1].rpartition(".")[2] for line in settings_page(OWN).splitlines() if line.startswith("| `")
    }
    assert {name for name in names if f"#: {name} = " not in example_page(OWN)} == set()


def test_the_command_prints_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settings", "--toml"]) == 0
    assert capsys.readouterr().out == example_page(OWN)
