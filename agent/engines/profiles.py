"""Which profile `auto` takes on this machine, and which checkpoints a profile reads."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.checkpoints.gpus import Gpu, find_gpus
from agent.checkpoints.integrity import integrity_error
from agent.checkpoints.releases import CheckpointRelease
from agent.engines.registry import Registry
from agent.settings.profiles import PROFILES, Choice

MISTRAL_KEY = "MISTRAL_API_KEY"


def choose_profile(
    registry: Registry, models: Path, environment: Mapping[str, str], look: Callable[[], Sequence[Gpu]] = find_gpus
) -> Choice:
    """The best profile that this machine can run: what `auto` stands for.

    Args:
        registry: the engines of the profiles.
        models: folder of the downloaded checkpoints.
        environment: usually `os.environ`.
        look: finds the GPUs.
    """
    releases = releases_of("gpu", registry)
    missing = [release.name for release in releases if integrity_error(release.folder(models), release)]
    if not missing and look():
        return Choice("gpu", f"a GPU and all weights in {models}")
    no_gpu = f"weights of {', '.join(missing)} are not in {models}" if missing else "no GPU"
    if environment.get(MISTRAL_KEY):
        return Choice("mistral", f"{MISTRAL_KEY} is set ({no_gpu})")
    return Choice("embedded", f"{no_gpu}, and no {MISTRAL_KEY}")


def releases_of(profile: str, registry: Registry) -> Sequence[CheckpointRelease]:
    """The checkpoints that a profile's engines read."""
    kinds = PROFILES[profile]
    return [spec.release for spec in registry.specs if spec.release and kinds[spec.part] == spec.kind]
