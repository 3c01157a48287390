"""requirements.txt is what Parley's packages declare that they need, less what no call uses."""

import tomllib
from collections.abc import Mapping
from importlib import metadata
from itertools import product
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LEFT_OUT = {"numba", "llvmlite", "resampy"}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = (("linux", "Linux", "x86_64"), ("darwin", "Darwin", "arm64"))


def environment(python: str, platform: tuple[str, str, str]) -> Mapping[str, str]:
    here = {name: str(value) for name, value in default_environment().items()}
    system = dict(zip(("sys_platform", "platform_system", "platform_machine"), platform, strict=True))
    return here | system | {"python_version": python, "python_full_version": f"{python}.0"}


def declared_needs(requirement: Requirement, where: Mapping[str, str], found: set[str]) -> None:
    """Add to `found` the names of all that the requirement brings, as the installed packages declare it."""
    name = canonicalize_name(requirement.name)
    if name in found or name in LEFT_OUT:
        return
    found.add(name)
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # wanted by another Python only
        return
    for need in map(Requirement, lines):
        extras = requirement.extras or {""}
        if need.marker is None or any(need.marker.evaluate({**where, "extra": extra}) for extra in extras):
            declared_needs(need, where, found)


def test_every_declared_need_is_pinned_and_nothing_else_but_what_no_call_uses() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = [Requirement(line) for line in lines]
    for python, platform in product(PYTHONS, PLATFORMS):
        where = environment(python, platform)
        found: set[str] = set()
        for line in project["dependencies"]:
            declared_needs(Requirement(line), where, found)
        installed = {canonicalize_name(pin.name) for pin in pinned if pin.marker is None or pin.marker.evaluate(where)}
        assert installed == found, (python, platform)
