"""Settings: which layer wins, and the one line that each mistake gets."""

import re
from pathlib import Path

import pytest

from agent.engines.configure import load_settings
from agent.engines.registry import installed_engines
from agent.errors import ConfigError
from agent.settings.config import DEFAULT_PORT, Settings
from agent.settings.moved import MOVED
from agent.settings.reference import settings_page
from tts.config import EspeakConfig, VoxtralTTSConfig


def write(folder: Path, text: str) -> Path:
    file = folder / "parley.toml"
    file.write_text(text)
    return file


def the_error(file: Path | None = None, environment: dict[str, str] | None = None, **command_line: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environment or {}, command_line)
    (line,) = caught.value.lines
    return line


def test_without_weights_and_key_the_profile_is_embedded() -> None:
    settings = load_settings(None, {})
    assert settings.profile == "embedded"
    assert (settings.asr.kind, settings.llm.kind, settings.tts.kind) == ("sphinx", "demo", "espeak")
    assert settings.server.port == DEFAULT_PORT


def test_environment_beats_file_beats_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, '[server]\nport = 8001\nhost = "0.0.0.0"\n[admission]\nmax_calls = 3')
    settings = load_settings(file, {"PARLEY_SERVER__PORT": "8002"})
    assert settings.server.port == 8002
    assert settings.server.host == "0.0.0.0"
    assert settings.admission.max_calls == 3
    assert settings.server.drain_limit_s == Settings.model_fields["server"].default.drain_limit_s


def test_command_line_beats_all(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nport = 8001")
    settings = load_settings(file, {"PARLEY_SERVER__PORT": "8002"}, {"server": {"port": 8003}})
    assert settings.server.port == 8003


def test_a_part_keeps_its_profile_kind_when_only_its_settings_are_given(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "[tts]\nwords_per_minute = 200"), {})
    assert settings.tts == EspeakConfig(words_per_minute=200)


def test_nested_and_listed_values_from_the_environment() -> None:
    environment = {
        "PARLEY_CALL__TURN_TAKING__USE_SMART_TURN": "false",
        "PARLEY_WEBRTC__SIGNALLING__ALLOWED_ORIGINS": '["https://example.org"]',
        "PARLEY_AGENT__NAME": "7",
    }
    settings = load_settings(None, environment)
    assert settings.call.turn_taking.use_smart_turn is False
    assert settings.webrtc.signalling.allowed_origins == ("https://example.org",)
    assert settings.agent.name == "7"


def test_variables_of_a_kubernetes_service_named_parley_are_not_settings() -> None:
    environment = {"PARLEY_PORT": "tcp://10.0.0.1:80", "PARLEY_SERVICE_HOST": "10.0.0.1", "PARLEY_REQUIRE_ALL": "1"}
    assert load_settings(None, environment) == load_settings(None, {})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings(None, {}).profile = "other"  # pyright: ignore[reportAttributeAccessIssue]


MISTAKES = (
    (
        "[server]\nport = 70000",
        "server.port: wanted less than or equal to 65535, found 70000; correct it, or remove",
    ),
    ("[server]\nprot = 1", "server.prot: no such setting; did you mean port?"),
    ("[nonsense]\nx = 1", "nonsense: no such setting; there are admission, agent, asr, call"),
    ("server = 3", "server: wanted a table, found 3; correct it"),
    ('[asr]\nkind = "ear"', "asr.kind: wanted one of 'mistral', 'sphinx', "),
    ('[tts]\nkind = "mouth"', "tts.kind: wanted one of 'espeak', 'mistral', "),
    ("tts = 3", "tts: wanted a table, found 3; correct it"),
    ('profile = "gpo"', "profile: wanted one of auto, embedded, "),
    ("profile = [1]", "profile: wanted one of auto, embedded, "),
    ("models = 3", "models: wanted a path, found 3; correct it"),
    ('[tools.mcp.shop]\ncomand = ["shop"]', "tools.mcp.shop.comand: no such setting; did you mean command?"),
    ('[tools.mcp.shop]\nlimit_s = "x"', "tools.mcp.shop.limit_s: wanted a valid number"),
    (
        "[tools.mcp.shop]\nenv = {KEY = 'k-1'}",
        "tools.mcp.shop: wanted either a command or a url, and not both, found a table of env; correct it",
    ),
    ("[tools.mcp.shop]\nurl = 'shop'", "tools.mcp.shop.url: wanted"),
    (
        "[server]\nport = 'x'",
        "server.port: wanted a valid integer, unable to parse string as an integer, found 'x'",
    ),
    ("[fallback]\nvad = []", "fallback.vad: no such setting; there are asr, llm, tts"),
    ("fallback.tts = 3", "fallback.tts: wanted a valid tuple, found 3; correct it, or remove it"),
    ("[[fallback.tts]]\nvoice = 'x'", "fallback.tts.0.kind: missing; add it"),
    ('[[fallback.tts]]\nkind = "mouth"', "fallback.tts.0.kind: wanted one of 'espeak', 'mistral', "),
    (
        '[[fallback.tts]]\nkind = "espeak"\nword_per_minute = 9',
        "fallback.tts.0.word_per_minute: no such setting; did you mean words_per_minute?",
    ),
    ('[[fallback.llm]]\nkind = "chat"\nmodel = "m"', "fallback.llm.0.base_url: missing; add it: URL of the API"),
    (
        "[call.turn_taking.endpointing]\ncomplete_ms = 0",
        "call.turn_taking.endpointing.complete_ms: wanted greater than 0, found 0; correct it, or",
    ),
)


def test_each_mistake_in_the_file_is_one_line_that_names_it(tmp_path: Path) -> None:
    for toml, expected in MISTAKES:
        file = write(tmp_path, toml)
        assert the_error(file).startswith(f"{file}: {expected}")


def test_an_old_name_is_answered_with_the_new_one(tmp_path: Path) -> None:
    for old, new in MOVED.items():
        table, _, name = old.rpartition(".")
        file = write(tmp_path, f"[{table}]\n{name} = 1")
        assert the_error(file) == f"{file}: {old}: is now {new}"
        assert new.partition(" ")[0] in settings_page(installed_engines().settings)


def test_an_old_name_in_the_environment() -> None:
    line = the_error(environment={"PARLEY_CALL__GREETING": "Hello"})
    assert line == "environment: PARLEY_CALL__GREETING: is now agent.greeting"


def test_another_kind_brings_its_own_settings(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, '[tts]\nkind = "voxtral"\ncheckpoint = "/weights"'), {})
    assert settings.tts.kind == "voxtral"
    assert settings.asr.kind == "sphinx"


def test_an_engine_of_our_own_reads_its_release_among_the_models_unless_told_otherwise() -> None:
    environment = {"PARLEY_TTS__KIND": "voxtral", "PARLEY_MODELS": "/models"}
    settings = load_settings(None, environment)
    assert settings.tts == VoxtralTTSConfig(checkpoint=Path("/models/Voxtral-4B-TTS-2603"))
    named = load_settings(None, {**environment, "PARLEY_TTS__CHECKPOINT": "/mine"})
    assert named.tts == VoxtralTTSConfig(checkpoint=Path("/mine"))


def test_engines_that_take_over_are_lists_of_their_own(tmp_path: Path) -> None:
    toml = """
        [[fallback.tts]]
        kind = "voxtral"
        [[fallback.tts]]
        kind = "espeak"
        words_per_minute = 200
    """
    settings = load_settings(write(tmp_path, toml), {"PARLEY_MODELS": "/models", "PARLEY_TTS__KIND": "espeak"})
    ours, espeak = settings.fallback.tts
    assert ours == VoxtralTTSConfig(checkpoint=Path("/models/Voxtral-4B-TTS-2603"))
    assert espeak == EspeakConfig(words_per_minute=200)
    assert (settings.fallback.asr, settings.fallback.llm) == ((), ())


def test_the_home_folder_is_found() -> None:
    assert load_settings(None, {"PARLEY_MODELS": "~/models"}).models == Path.home() / "models"


def test_a_missing_setting_says_what_it_is_for() -> None:
    line = the_error(environment={"PARLEY_TTS__KIND": "omni"})
    assert line.startswith("settings: tts.base_url: missing; add it: URL of the API")


def test_a_misspelt_setting_of_a_chosen_kind() -> None:
    line = the_error(
        environment={"PARLEY_TTS__KIND": "voxtral", "PARLEY_TTS__CHECKPOINT": "/weights", "PARLEY_TTS__DEVCE": "cpu"}
    )
    assert line == "environment: PARLEY_TTS__DEVCE: no such setting; did you mean device?"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nport = -1\n[admission]\nmax_calls = 0")
    with pytest.raises(ConfigError) as caught:
        load_settings(file, {"PARLEY_TTS__WORDS_PER_MINUTE": "5"})
    assert len(caught.value.lines) == 3


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    line = the_error(environment={"PARLEY_SERVER__PORT": "many"})
    assert line.startswith("environment: PARLEY_SERVER__PORT: wanted a valid integer")


def test_a_mistake_on_the_command_line_says_so() -> None:
    assert the_error(server={"port": 99999}).startswith("command line: server.port: wanted less than or equal")


def test_a_broken_list_in_the_environment() -> None:
    variable = "PARLEY_WEBRTC__SIGNALLING__ALLOWED_ORIGINS"
    assert the_error(environment={variable: "[x"}) == f"environment: {variable}: not a valid TOML value: [x"


def test_syntax_errors_name_the_line(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nport = = 1")
    assert the_error(file).startswith(f"{file}: not valid TOML: Invalid value (at line 2, column 8)")


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in the_error(tmp_path / "absent.toml")


def test_a_folder_for_a_file(tmp_path: Path) -> None:
    assert "cannot be read" in the_error(tmp_path)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "parley.toml"
    file.write_bytes(b'[agent]\nname = "\xff"')
    assert "wanted UTF-8" in the_error(file)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    line = the_error(write(tmp_path, "[webrtc.signalling]\ntoken_secret = 424242"))
    assert "424242" not in line
    assert "token_secret" in line


def test_the_agent_of_the_readme_can_be_loaded(tmp_path: Path) -> None:
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    (toml,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    settings = load_settings(write(tmp_path, toml), {})
    assert settings.agent.languages == ("en", "fr")
    assert settings.tools.mcp["menu"].command == ("python", "menu_server.py")
