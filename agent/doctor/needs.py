"""What the engines of the settings need and this machine may lack: weights, memory, packages, keys, servers.

Nothing is started and nothing is sent but a connection attempt.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from agent.checkpoints.gpus import Gpu, find_gpus
from agent.checkpoints.integrity import integrity_error
from agent.checkpoints.releases import GB, RELEASES
from agent.doctor.machine import Finding
from agent.engines.registry import Registry
from agent.engines.spec import AnySpec
from agent.extras import install_command, missing_packages
from agent.settings.config import PARTS, EngineConfig, Settings

_CONNECT_LIMIT_S = 3.0
_PORTS = {"http": 80, "https": 443}

Engines = Sequence[tuple[AnySpec, EngineConfig]]


async def check_needs(
    settings: Settings,
    registry: Registry,
    environment: Mapping[str, str],
    look: Callable[[], Sequence[Gpu]] = find_gpus,
) -> Sequence[Finding]:
    """One finding for each thing that the engines need; none for engines that need nothing.

    Args:
        settings: whose engines, those that take over among them.
        registry: their rows.
        environment: usually `os.environ`.
        look: finds the GPUs.
    """
    engines = [(registry.spec(part, config), config) for part in PARTS for config in settings.chain(part)]
    found = [*_packages(engines), *_weights(engines), *_memory(engines, look), *_keys(engines, environment)]
    found += [finding async for finding in _servers(engines)]
    return list(dict.fromkeys(found))  # two engines may need the same


def _packages(engines: Engines) -> Iterator[Finding]:
    for spec, config in engines:
        for package, extra in missing_packages(spec.needs(config).packages).items():
            yield Finding("packages", "missing", f"{package} is not installed", f"run: {install_command(extra)}")


def _weights(engines: Engines) -> Iterator[Finding]:
    for spec, config in engines:
        checkpoint = spec.needs(config).checkpoint
        if checkpoint is None:
            continue
        release = RELEASES.get(checkpoint.name, spec.release)
        if release is None:
            status = "ok" if checkpoint.exists() else "missing"
            yield Finding("weights", status, str(checkpoint), "" if status == "ok" else "correct the path")
        elif error := integrity_error(checkpoint, release):
            remedy = f"run: parley download {release.name} ({release.license})"
            yield Finding("weights", "missing", f"{release.name}: {error}", remedy)
        else:
            yield Finding("weights", "ok", f"{release.name}: complete in {checkpoint}")


def _memory(engines: Engines, look: Callable[[], Sequence[Gpu]]) -> Iterator[Finding]:
    wanted: dict[str, int] = {}
    for spec, config in engines:
        needs = spec.needs(config)
        if needs.device_bytes:
            device = needs.device.replace("cuda:0", "cuda")
            wanted[device] = wanted.get(device, 0) + needs.device_bytes
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
                "gpu", "missing", found, "lower slots, streams and cache_tokens, quantize, or take a smaller model"
            )
        elif gpu.free_bytes and size > gpu.free_bytes:
            yield Finding("gpu", "warning", f"{found}, {gpu.free_bytes / GB:.0f} are free", "stop what uses the GPU")
        else:
            yield Finding("gpu", "ok", found)


def _keys(engines: Engines, environment: Mapping[str, str]) -> Iterator[Finding]:
    for spec, config in engines:
        name = spec.needs(config).api_key_env
        if name and environment.get(name, "").strip():
            yield Finding("key", "ok", f"{name} is set")
        elif name:
            yield Finding("key", "missing", f"{name} is not set", f"run: export {name}=...")


async def _servers(engines: Engines) -> AsyncIterator[Finding]:
    urls = [url for spec, config in engines if (url := spec.needs(config).server)]
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
