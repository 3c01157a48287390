"""The command line: exit status, one line for each failure, and the commands on the embedded engines."""

import json
import logging
import wave
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent import cli
from llm.runtime.verify import Comparison
from webrtc.http.tokens import CallTokens

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "voxtral-tts"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # main() sets both; put them back afterwards
    monkeypatch.setenv("LOGURU_AUTOINIT", "0")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # serve adds one


def failure(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("parley: ")
    return line


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        [],
        ["sing"],
        ["say"],
        ["say", "hello"],
        ["serve", "--port", "x"],
        ["listen", "a.wav", "--mic"],
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert "usage: parley" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("serve", "engine", "say", "listen", "voices", "doctor", "token"))


def test_wrong_settings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["serve"], ["voices"], ["doctor"], ["say", "hello", "--out", "x.wav"]):
        file = tmp_path / "parley.toml"
        file.write_text("[server]\nprot = 1")
        line = failure(capsys, [*command, "--config", str(file)])
        assert line == f"parley: {file}: server.prot: no such setting; did you mean port?"


def test_an_unknown_profile(capsys: pytest.CaptureFixture[str]) -> None:
    line = failure(capsys, ["voices", "--profile", "gpo"])
    assert line.endswith("wanted one of auto, embedded, mistral, gpu, remote, found 'gpo'; choose one of these")


def test_a_missing_tool_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PARLEY_AGENT__TOOLS", '["curent_time"]')
    line = failure(capsys, ["serve", "--port", "0", "--log-level", "error"])
    assert line == "parley: agent.tools: no tool curent_time; did you mean current_time?"


def test_verify_compares_each_tensor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["verify", "tts", str(GOLDEN), "--cases"]
    assert cli.main([*command, str(GOLDEN / "cases.safetensors")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert all(line.startswith("ok  ") for line in lines)
    assert "cannot be read" in failure(capsys, [*command, str(tmp_path / "absent.safetensors")])


def test_verify_counts_a_miss(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = [Comparison("embed.out", 0.0, 1e-4), Comparison("lm.hidden", 0.5, 1e-4)]
    monkeypatch.setattr("tts.voxtral.cases.verify", lambda *_: iter(found))
    assert cli.main(["verify", "tts", str(GOLDEN), "--cases", "cases.safetensors"]) == 1
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["ok", "embed.out"],
        ["MISS", "lm.hidden"],
    ]


def test_a_port_out_of_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert "command line: server.port: wanted" in failure(capsys, ["serve", "--port", "70000"])
    assert "command line: engine_server.port: wanted" in failure(capsys, ["engine", "--port", "70000"])


def test_voices_lists_nine_languages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["voices"]) == 0
    languages = {line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert {"en", "fr", "es", "de", "it", "pt", "nl", "ar", "hi"} <= languages


def test_voices_of_one_language(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["voices", "--language", "pt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert {line.split()[1] for line in lines} == {"pt"}
    assert "found only" in failure(capsys, ["voices", "--language", "xx"])


def test_say_writes_a_wav_file_and_tells_how_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hello.wav"
    assert cli.main(["say", "Hello **there**, how are you?", "--out", str(path)]) == 0
    with wave.open(str(path)) as file:
        assert file.getnchannels() == 1
        assert file.getnframes() / file.getframerate() > 0.8
    report = capsys.readouterr().err
    assert "first audio after" in report
    assert "real-time factor" in report


def test_say_with_an_unknown_voice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = failure(capsys, ["say", "hello", "--voice", "nobody", "--out", str(tmp_path / "x.wav")])
    assert "no voice named 'nobody'" in line


def test_say_in_an_unknown_language(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = failure(capsys, ["say", "hello", "--language", "xx", "--out", str(tmp_path / "x.wav")])
    assert "wanted a voice for language xx" in line


def test_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = failure(capsys, ["say", "", "--out", str(tmp_path / "x.wav")])
    assert "the text is empty: give at least one word" in line


def test_say_to_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = failure(capsys, ["say", "hello", "--out", str(tmp_path / "no" / "x.wav")])
    assert "cannot be written" in line


def test_what_is_said_is_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "time.wav"
    assert cli.main(["say", "What time is it?", "--out", str(path)]) == 0
    capsys.readouterr()
    assert cli.main(["listen", str(path)]) == 0
    assert "time" in capsys.readouterr().out


def test_listen_to_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in failure(capsys, ["listen", str(tmp_path / "absent.wav")])


def test_doctor_tries_the_embedded_profile(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--json"])
    diagnosis = json.loads(capsys.readouterr().out)
    assert diagnosis["chosen"] == "embedded"
    parts = {finding["name"]: finding["status"] for finding in diagnosis["profiles"]["embedded"]}
    assert parts == {"ASR": "ok", "LLM": "ok", "TTS": "ok"}
    machine = {finding["name"]: finding for finding in diagnosis["machine"]}
    assert machine["python"]["status"] == "ok"
    assert machine["packages"]["status"] == "ok"
    assert all(finding["remedy"] for finding in diagnosis["machine"] if finding["status"] != "ok")
    assert status == (0 if diagnosis["can_serve"] else 1)


def test_doctor_tries_the_engines_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_TTS__KIND", "voxtral")
    monkeypatch.setenv("PARLEY_TTS__CHECKPOINT", "/no/such/folder")
    monkeypatch.setenv("PARLEY_TTS__DEVICE", "cpu")
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "profile of your own (chosen)" in out
    assert "no folder /no/such/folder; run: parley download Voxtral-4B-TTS-2603 (CC BY-NC 4.0)" in out
    assert "not ready" in out


def test_an_engine_that_cannot_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_TTS__KIND", "voxtral")
    monkeypatch.setenv("PARLEY_TTS__CHECKPOINT", "/no/such/folder")
    monkeypatch.setenv("PARLEY_TTS__DEVICE", "cpu")
    line = failure(capsys, ["say", "hello", "--out", str(tmp_path / "x.wav")])
    assert "no checkpoint folder /no/such/folder" in line


def test_a_token_opens_calls(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PARLEY_WEBRTC__SIGNALLING__TOKEN_SECRET", "only for this test")
    assert cli.main(["token"]) == 0
    CallTokens("only for this test", lifetime_s=60).check(capsys.readouterr().out.strip())


def test_a_token_without_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    assert "calls need no token" in failure(capsys, ["token"])


def test_a_bug_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_voices", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["voices"])
