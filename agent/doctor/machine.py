"""What a machine must have whatever the engines: Python, packages, a port, a network for UDP, sound."""

import asyncio
import os
import platform
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

from agent.commands.audio_devices import require_portaudio
from agent.engines.registry import Registry
from agent.errors import AudioDeviceError
from agent.settings.config import PARTS, ServerConfig, Settings

OLDEST_PYTHON = (3, 11)
_PACKAGE = "parley-voice"
_UDP_LIMIT_S = 2.0
_SOMEWHERE = ("192.0.2.1", 9)  # RFC 5737: a documentation address; connecting UDP to it sends nothing


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warning", "missing"]  # a warning limits something; what is missing prevents serving
    found: str
    remedy: str = ""


async def check_machine(settings: Settings, registry: Registry) -> Sequence[Finding]:
    """Everything about this machine, in the order in which to fix it."""
    return (
        _python(),
        _packages(),
        *_engines(registry),
        _cores(),
        _port(settings.server),
        await _udp(),
        _network(),
        _sound(),
        Finding("browser", "ok", "any current one; it allows the microphone on localhost and on https only"),
    )


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("python", "ok", found)
    return Finding("python", "missing", found, "install Python 3.11 or newer and make run again")


def _packages() -> Finding:
    if not _is_installed(_PACKAGE):
        return Finding("packages", "warning", "Parley runs from its folder, not installed", "make run installs it")
    missing = sorted(name for name in _required_packages() if not _is_installed(name))
    if not missing:
        return Finding("packages", "ok", "all installed")
    remedy = f"python -m pip install {' '.join(missing)}"
    return Finding("packages", "missing", f"not installed: {', '.join(missing)}", remedy)


def _engines(registry: Registry) -> Iterator[Finding]:
    """Which engines can be chosen, those of other distributions among them."""
    kinds = (f"{part.upper()} {', '.join(registry.of(part))}" for part in PARTS)
    yield Finding("engines", "ok", "; ".join(kinds))
    for line in registry.broken:
        yield Finding("engines", "warning", line)


def _required_packages() -> Iterator[str]:
    """Names of the packages that the base install needs."""
    for requirement in requires(_PACKAGE) or ():
        if "extra ==" not in requirement and (name := re.match(r"[\w.-]+", requirement)):
            yield name.group()


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _cores() -> Finding:
    return Finding(
        "cores", "ok", f"{os.cpu_count() or 1}; a process takes calls on one, speech recognition runs on another"
    )


def _port(server: ServerConfig) -> Finding:
    name = f"port {server.port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return Finding(name, "warning", f"cannot be listened on ({error.strerror})", "try parley serve --port 0")
    return Finding(name, "ok", f"free on {server.host}")


async def _udp() -> Finding:
    """Media is UDP: send a packet through loopback and wait for it."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.setblocking(False)
            receiver.bind(("127.0.0.1", 0))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"parley", receiver.getsockname())
            await asyncio.wait_for(loop.sock_recv(receiver, 16), _UDP_LIMIT_S)
    except (OSError, TimeoutError) as error:
        return Finding("udp", "missing", f"a packet to 127.0.0.1 does not arrive ({error})", "allow UDP on loopback")
    return Finding("udp", "ok", "packets arrive on loopback")


def _network() -> Finding:
    """Browsers and aioice offer no loopback addresses, so a machine without any other needs them switched on."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_SOMEWHERE)
            address = str(probe.getsockname()[0])
    except OSError:
        return Finding("network", "warning", "only loopback", "PARLEY_WEBRTC__LOOPBACK=true parley serve")
    return Finding("network", "ok", f"calls come in at {address}")


def _sound() -> Finding:
    try:
        require_portaudio()
    except AudioDeviceError as error:
        return Finding("sound", "warning", "no say --play and no listen --mic", str(error))
    return Finding("sound", "ok", "PortAudio is there for say --play and listen --mic")
