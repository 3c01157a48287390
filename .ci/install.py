"""Installs Parley into the environment that runs this, one line a package: `python .ci/install.py base|test|EXTRA`.

`base` is what a call needs, all of it named in requirements.txt, so that pip resolves nothing and adds nothing.
`test` is all extras besides, and any other name is that extra of pyproject.toml.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off")
COLLECTING = re.compile(r"Collecting ([\w.-]+)")
DOWNLOADING = re.compile(r" +Downloading .* \(([\d.]+ [MG]B)\)")
INSTALLING = "Installing collected packages: "

BASE = ("--no-deps", "--requirement", "requirements.txt", "--editable", ".")


def extras(*names: str) -> list[str]:
    """Options of pip for these extras, or for all, without Parley itself: its needs would bring back what `base` lacks.

    Nor may pip warn that something is left out.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    offered = project["optional-dependencies"]
    wanted = [line for name in names or offered for line in offered[name]]
    others = [line for line in wanted if not line.startswith(f"{project['name']}[")]
    return ["--no-warn-conflicts", "--constraint", "constraints.txt", *others]


def install(options: Iterable[str]) -> int:
    """Run pip and say what it does, begun before it is done; its exit status."""
    count, end = 0, ""
    with subprocess.Popen([*PIP, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            if found := COLLECTING.match(line):
                count += 1
                print(f"{end}  {count:3}  {found[1]}", end="", flush=True)
                end = "\n"
            elif found := DOWNLOADING.match(line):
                print(f"  {found[1]}", end="", flush=True)
            elif line.startswith(INSTALLING):
                print(f"{end}  unpacking {line.count(',') + 1} packages", end="", flush=True)
    print(end, end="", flush=True)
    return pip.returncode


def main(what: str) -> int:
    """Install; the exit status."""
    if what not in ("base", "test"):
        return install(extras(what))
    status = install(BASE)
    return install(extras()) if what == "test" and not status else status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
