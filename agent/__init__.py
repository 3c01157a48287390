"""The application: command line, settings, the running process, its calls and tools.

In a checkout the folders are the packages and their names are short, so a stranger's `llm` or `agent` on the path
could shadow ours: there, importing `agent` checks that all of them come from one place. In the wheel they all lie
under `parley`.
"""

from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"

PACKAGES = ("pipelines", "asr", "tts", "llm", "webrtc")


def _foreign_packages() -> list[str]:
    """Names of our packages that Python would import from somewhere else, with the place."""
    home = Path(__file__).resolve().parent.parent
    found = ((name, find_spec(name)) for name in PACKAGES)
    return [
        f"{name} ({spec.origin if spec else 'missing'})"
        for name, spec in found
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parent.parent != home
    ]


if __name__ == "agent" and (foreign := _foreign_packages()):
    raise ImportError(
        f"Parley's packages must lie beside {Path(__file__).resolve().parent}, but Python finds others: "
        f"{', '.join(foreign)}. Install Parley in an environment of its own (make run does)."
    )
