"""What the engines of the settings need and this machine may lack: weights, memory, packages, keys, servers.

Nothing is started and nothing is sent but a connection attempt.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from urllib.parse import urlsplit

from agent.checkpoints.gpus import Gpu, gpus
from agent.checkpoints.integrity import flaw
from agent.checkpoints.memory import EngineConfig, device_bytes, engines_of
from agent.checkpoints.releases import GB, RELEASES
from agent.doctor.machine import Finding
from agent.settings.config import Settings
from agent.settings.profiles import CHECKPOINTS
from llm.config import MistralChatConfig

_CONNECT_LIMIT_S = 3.0
_PORTS = {"http": 80, "https": 443}


async def needs(
    settings: Settings, environment: Mapping[str, str], look: Callable[[], Sequence[Gpu]] = gpus
) -> Sequence[Finding]:
    """One finding for each thing that the engines need; none for engines that need nothing.

    Args:
        settings: whose engines.
        environment: usually `os.environ`.
        look: finds the GPUs.
    """
    engines = list(engines_of(settings))
    found = [*_packages(engines), *_weights(engines), *_memory(engines, look), *_keys(engines, environment)]
    found += [finding async for finding in _servers(engines)]
    return list(dict.fromkeys(found))  # two engines may need the same


def _packages(engines: Sequence[tuple[str, EngineConfig]]) -> Iterator[Finding]:
    extras = {"engines": "torch"} if any(hasattr(config, "checkpoint") for _, config in engines) else {}
    if any(isinstance(config, MistralChatConfig) for _, config in engines):
        extras["mistral"] = "mistralai"
    for extra, package in extras.items():
        if find_spec(package) is None:
            remedy = f"run: python -m pip install -c constraints.txt '.[{extra}]'"
            yield Finding("packages", "missing", f"{package} is not installed", remedy)


def _weights(engines: Sequence[tuple[str, EngineConfig]]) -> Iterator[Finding]:
    for part, config in engines:
        checkpoint = getattr(config, "checkpoint", None)
        if checkpoint is None:
            continue
        release = RELEASES.get(checkpoint.name, CHECKPOINTS[part, config.kind])
        if wrong := flaw(checkpoint, release):
            remedy = f"run: parley download {release.name}"
            yield Finding("weights", "missing", f"{release.name}: {wrong}", f"{remedy} ({release.licence})")
        else:
            yield Finding("weights", "ok", f"{release.name}: complete in {checkpoint}")


def _memory(engines: Sequence[tuple[str, EngineConfig]], look: Callable[[], Sequence[Gpu]]) -> Iterator[Finding]:
    wanted: dict[str, int] = {}
    for part, config in engines:
        if size := device_bytes(part, config):
            device = str(getattr(config, "device", "cuda")).replace("cuda:0", "cuda")
            wanted[device] = wanted.get(device, 0) + size
    if not wanted:
        return
    there = look()
    for device, size in wanted.items():
        number = int(device.partition(":")[2] or 0)
        if number >= len(there):
            yield Finding(
                "gpu", "missing", f"{device}: no such GPU; its engines need {size / GB:.0f} GB", "take another profile"
            )
            continue
        gpu = there[number]
        found = f"{device}, {gpu.name}: {gpu.total_bytes / GB:.0f} GB, its engines need about {size / GB:.0f}"
        if gpu.total_bytes and size > gpu.total_bytes:
            yield Finding(
                "gpu", "missing", found, "lower slots, streams and cache_tokens, quantise, or take a smaller model"
            )
        elif gpu.free_bytes and size > gpu.free_bytes:
            yield Finding("gpu", "warning", f"{found}, {gpu.free_bytes / GB:.0f} are free", "stop what uses the GPU")
        else:
            yield Finding("gpu", "ok", found)


def _keys(engines: Sequence[tuple[str, EngineConfig]], environment: Mapping[str, str]) -> Iterator[Finding]:
    for _, config in engines:
        name = getattr(config, "api_key_env", None)
        if name and environment.get(name, "").strip():
            yield Finding("key", "ok", f"{name} is set")
        elif name:
            yield Finding("key", "missing", f"{name} is not set", f"run: export {name}=...")


async def _servers(engines: Sequence[tuple[str, EngineConfig]]) -> AsyncIterator[Finding]:
    urls: list[str] = [url for _, config in engines if (url := getattr(config, "base_url", None))]
    for url in dict.fromkeys(urls):
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        try:
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {_CONNECT_LIMIT_S:.0f} s"
            yield Finding("server", "missing", f"{url} does not answer ({reason})", "start it, or correct base_url")
        else:
            writer.close()
            yield Finding("server", "ok", f"{url} answers")
