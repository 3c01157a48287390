"""The optional packages of the installation: which are missing, and the command that installs them."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from agent.errors import EngineUnavailable

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"  # of a checkout; an installed wheel has none


def install_command(extra: str) -> str:
    """The command that installs an extra of Parley, into the checkout's environment or the one of the wheel."""
    if PROJECT.exists():
        return f"make extra-{extra}"  # pip install '.[...]' would put a wheel in the place of the checkout
    return f"python -m pip install 'parley-voice[{extra}]'"


def missing_packages(packages: Mapping[str, str]) -> Mapping[str, str]:
    """Of these packages, by import name with the extra that brings each, those that are not installed."""
    return {package: extra for package, extra in packages.items() if find_spec(package) is None}


def require_packages(packages: Mapping[str, str], *, user: str) -> None:
    """Check that they are there before something large is imported.

    Raises:
        EngineUnavailable: one is missing; the message names `user`, which needs it.
    """
    for package, extra in missing_packages(packages).items():
        raise EngineUnavailable(f"{user} needs {package}, which is not installed; run: {install_command(extra)}")
