"""The command line: parses, calls one function, returns the exit status (0 done, 1 failed, 2 wrongly called)."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agent import __version__
from agent.errors import AgentError, CommandError, ConfigError

if TYPE_CHECKING:
    from agent.settings.config import Settings
    from asr.interface import Transcript

_DONE, _FAILED, _INTERRUPTED = 0, 1, 130
_LOG_LEVELS = ("debug", "info", "warning", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every failure of the user's making is one line on stderr."""
    # numpy's OpenBLAS would start a thread for every core, which only gets in the way of the calls.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("LOGURU_AUTOINIT", "0")  # Pipecat greets on stderr as soon as it is imported
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        lines = _user_error(error)
        if lines is None:
            raise
        for line in lines:
            print(f"parley: {line}", file=sys.stderr)
        return _FAILED


def _user_error(error: BaseException) -> Sequence[str] | None:
    """The lines to show for an error that the user can do something about; None for one of ours."""
    from asr.interface import RecognitionError
    from llm.interface import LanguageModelError
    from tts.interface import SynthesisError

    while isinstance(error, BaseExceptionGroup):  # one failure in a task group comes wrapped
        error, *others = cast(BaseExceptionGroup[BaseException], error).exceptions
        if others:
            return None
    if isinstance(error, ConfigError):
        return error.lines
    if isinstance(error, AgentError | RecognitionError | SynthesisError | LanguageModelError):
        return (" ".join(str(error).split()),)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="parley", description="A full-duplex conversational voice agent.")
    parser.add_argument("--version", action="version", version=f"parley {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=run)
        sub.add_argument("--profile", metavar="NAME", help="which engines; auto, the default, takes the best")
        sub.add_argument("--config", metavar="FILE", type=Path, help="TOML file with settings")
        return sub

    serve = command("serve", _serve, "Take calls from browsers.")
    serve.add_argument("--host", metavar="H", help="address to listen on")
    serve.add_argument("--port", metavar="P", type=int, help="TCP port; 0 picks a free one")
    serve.add_argument("--log-level", choices=_LOG_LEVELS, default="info", help="transcripts are logged at debug only")

    engine = command("engine", _engine, "Serve the three engines to other programs on open protocols.")
    engine.add_argument("--host", metavar="H", help="address to listen on")
    engine.add_argument("--port", metavar="P", type=int, help="TCP port; 0 picks a free one")
    engine.add_argument("--log-level", choices=_LOG_LEVELS, default="info", help="no text is logged above debug")

    say = command("say", _say, "Speak a text.")
    say.add_argument("text", metavar="TEXT")
    say.add_argument("--voice", metavar="V", help="a name that parley voices lists")
    say.add_argument("--language", metavar="L", help="BCP 47 tag such as en or pt")
    target = say.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", metavar="FILE", type=Path, help="write a WAV file")
    target.add_argument("--play", action="store_true", help="play it on this machine's loudspeaker")

    listen = command("listen", _listen, "Transcribe a WAV file or this machine's microphone.")
    listen.add_argument("--language", metavar="L", help="BCP 47 tag such as en or pt")
    source = listen.add_mutually_exclusive_group(required=True)
    source.add_argument("file", metavar="FILE", type=Path, nargs="?", help="a WAV file of any rate")
    source.add_argument("--mic", action="store_true", help="listen to the microphone until Ctrl-C")

    voices = command("voices", _voices, "List the voices.")
    voices.add_argument("--language", metavar="L", help="only those of this language")

    doctor = command("doctor", _doctor, "Show what this machine can run and how to fix what is missing.")
    doctor.add_argument("--json", action="store_true", help="print JSON")

    download = command("download", _download, "Fetch released checkpoints; run again, it continues where it stopped.")
    download.add_argument("names", metavar="NAME", nargs="*", help="a checkpoint; all of the profile gpu if not given")
    download.add_argument("--hub", metavar="URL", help="another hub than the public one")

    verify = commands.add_parser("verify", help="Compare a checkpoint on this machine with a reference's numbers.")
    verify.set_defaults(command=_verify)
    verify.add_argument("part", choices=("tts", "asr"))
    verify.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="folder of the model")
    verify.add_argument("--cases", metavar="FILE", type=Path, required=True, help="safetensors file of golden cases")
    verify.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda or cuda:1")

    settings = commands.add_parser("settings", help="List every setting, its default and its meaning, as Markdown.")
    settings.add_argument("--toml", action="store_true", help="as a TOML file to copy and change")
    settings.set_defaults(command=_settings_page)
    events = commands.add_parser("events", help="List every event of a call, as Markdown.")
    events.set_defaults(command=_events_page)
    command("token", _token, "Print a token that opens a call for a short while.")
    return parser


def _settings(options: argparse.Namespace, server: str = "server") -> "Settings":
    """All settings; --host and --port are those of the `server` that the command runs."""
    from agent.engines.configure import load_settings

    address = {name: value for name in ("host", "port") if (value := getattr(options, name, None)) is not None}
    command_line: dict[str, Any] = {server: address} if address else {}
    if options.profile is not None:
        command_line["profile"] = options.profile
    return load_settings(options.config, os.environ, command_line)


def _serve(options: argparse.Namespace) -> int:
    from agent.log import configure_logging

    configure_logging(options.log_level)
    settings = _settings(options)
    from agent.serving.server import serve  # imports Pipecat, which logs while it is imported

    asyncio.run(serve(settings, on_ready=lambda url: print(f"Parley is listening on {url}", flush=True)))
    return _DONE


def _engine(options: argparse.Namespace) -> int:
    from agent.engine_server.server import serve_engines
    from agent.log import configure_logging

    settings = _settings(options, "engine_server")
    configure_logging(options.log_level)
    asyncio.run(serve_engines(settings, on_ready=lambda url: print(f"The engines are listening on {url}", flush=True)))
    return _DONE


def _say(options: argparse.Namespace) -> int:
    asyncio.run(_say_aloud(_settings(options), options))
    return _DONE


async def _say_aloud(settings: "Settings", options: argparse.Namespace) -> None:
    from agent.commands.audio_devices import Speaker
    from agent.commands.audio_files import WavFile
    from agent.commands.say import choose_voice, say
    from agent.engines.open import synthesizer_of
    from agent.engines.resources import Resources

    language = options.language or settings.agent.language
    async with Resources() as resources, synthesizer_of(settings, resources) as synthesizer:
        voice = choose_voice(synthesizer, options.voice or settings.agent.voice, language)
        rate = synthesizer.sample_rate_hz
        sink = Speaker(rate) if options.play else WavFile(options.out, rate)
        report = await say(synthesizer, options.text, voice=voice, language=language, sink=sink)
    print(
        f"{report.voice}: {report.audio_s:.2f} s of speech, first audio after {report.first_audio_ms:.0f} ms, "
        f"real-time factor {report.real_time_factor:.3f}",
        file=sys.stderr,
    )


def _listen(options: argparse.Namespace) -> int:
    asyncio.run(_listen_to(_settings(options), options))
    return _DONE


async def _listen_to(settings: "Settings", options: argparse.Namespace) -> None:
    from agent.commands.audio_devices import open_microphone
    from agent.commands.audio_files import read_wav
    from agent.commands.transcribe import blocks_of, transcribe
    from agent.engines.open import recognizer_of
    from agent.engines.resources import Resources
    from asr.interface import SAMPLE_RATE_HZ

    language = options.language or settings.agent.language
    async with Resources() as resources, recognizer_of(settings, resources) as recognizer:
        if options.mic:
            async with open_microphone(SAMPLE_RATE_HZ) as blocks:
                print("listening; Ctrl-C ends", file=sys.stderr)
                await transcribe(recognizer, blocks, language=language, on_transcript=_show)
        else:
            blocks = blocks_of(read_wav(options.file, SAMPLE_RATE_HZ))
            await transcribe(recognizer, blocks, language=language, on_transcript=_show)


def _show(transcript: "Transcript") -> None:
    """Finals go to stdout, a line each; partials to stderr, each over the last, if a person is watching."""
    if transcript.is_final:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        if transcript.text:
            print(transcript.text, flush=True)
    elif sys.stderr.isatty():
        print(f"\r\x1b[K{transcript.text}", end="", file=sys.stderr, flush=True)


def _voices(options: argparse.Namespace) -> int:
    return asyncio.run(_list_voices(_settings(options), options.language))


async def _list_voices(settings: "Settings", language: str | None) -> int:
    from agent.engines.open import synthesizer_of
    from agent.engines.resources import Resources

    async with Resources() as resources, synthesizer_of(settings, resources) as synthesizer:
        voices = [voice for voice in synthesizer.voices if language in (None, voice.language)]
        if not voices:
            known = ", ".join(sorted({voice.language for voice in synthesizer.voices}))
            raise CommandError(f"wanted voices for language {language}, found only {known}; choose one of these")
    for voice in voices:
        print(f"{voice.name:<24} {voice.language:<4} {voice.description}".rstrip())
    return _DONE


def _doctor(options: argparse.Namespace) -> int:
    from agent.doctor.report import examine, report
    from agent.engines.registry import installed_engines

    diagnosis = asyncio.run(examine(_settings(options), installed_engines(), os.environ))
    if options.json:
        print(json.dumps(diagnosis.as_json(), indent=2))
    else:
        print("\n".join(report(diagnosis)))
    return _DONE if diagnosis.can_serve else _FAILED


def _download(options: argparse.Namespace) -> int:
    from agent.checkpoints.download import download, find_releases
    from agent.engines.profiles import releases_of
    from agent.engines.registry import installed_engines

    releases = find_releases(options.names, releases_of("gpu", installed_engines()))
    say = partial(print, flush=True)
    download(releases, _settings(options).models, say=say, endpoint=options.hub)
    return _DONE


def _verify(options: argparse.Namespace) -> int:
    from agent.engines.neural import compare

    is_right = True
    for found in compare(options.part, options.checkpoint, options.cases, options.device):
        is_right = is_right and found.ok
        print(f"{'ok  ' if found.ok else 'MISS'} {found.name:<40} {found.error:.3e} (at most {found.tolerance:.0e})")
    return _DONE if is_right else _FAILED


def _events_page(_: argparse.Namespace) -> int:
    from agent.commands.events import events_page

    print(events_page(), end="")
    return _DONE


def _settings_page(options: argparse.Namespace) -> int:
    from agent.engines.registry import installed_engines
    from agent.settings.example import example_page
    from agent.settings.reference import settings_page

    page = example_page if options.toml else settings_page
    print(page(installed_engines().settings), end="")
    return _DONE


def _token(options: argparse.Namespace) -> int:
    from webrtc.http.tokens import CallTokens

    signalling = _settings(options).webrtc.signalling
    if signalling.token_secret is None:
        raise CommandError("calls need no token; to ask for one set PARLEY_WEBRTC__SIGNALLING__TOKEN_SECRET")
    secret = signalling.token_secret.get_secret_value()
    print(CallTokens(secret, lifetime_s=signalling.token_lifetime_s).issue())
    return _DONE
