"""The distribution: an sdist, the wheel built from it, and Parley installed beside strangers of the same names."""

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout

from hatch_build import PACKAGES, CannotRewrite, rewrite_imports

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "webrtc" / "browser" / "page"
LIMIT_S = 120.0
USER_CODE = """
from parley.agent.tools import tool

@tool(limit_s=2)
def table(people: int) -> str:
    "Book a table."
    return "Marta's"

from parley.agent import tools
assert tools.tool is tool
"""

Run = Callable[..., str]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Its standard output; it must end well."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("PARLEY_", "PYTHON"))}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**settings, "PARLEY_SERVER__PORT": "0", "PARLEY_WEBRTC__LOOPBACK": "true"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def pip(python: Path, *arguments: str | Path) -> None:
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", *arguments)


def environment(folder: Path) -> Path:
    """The Python of a new virtual environment that finds the dependencies of this one, but not Parley."""
    venv.create(folder, with_pip=False)
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    python = folder / "bin" / "python"
    # A path in a .pth file gives the packages that lie there; editable installs are further .pth files, not followed.
    Path(site_of(python), "dependencies.pth").write_text("\n".join(packages))
    return python


def site_of(python: Path) -> str:
    return run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel, beside a stranger for every name that the checkout takes."""
    python = environment(tmp_path_factory.mktemp("wheel") / "venv")
    for name in PACKAGES:
        stranger = Path(site_of(python), name)
        stranger.mkdir()
        (stranger / "__init__.py").write_text("IS_STRANGER = True\n")
    pip(python, built[1])
    return python


def test_metadata_is_what_an_index_wants(built: tuple[Path, Path]) -> None:
    assert run(sys.executable, "-m", "twine", "check", "--strict", *built).count("PASSED") == 2


def test_the_wheel_holds_one_package_and_its_data(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = wheel.namelist()
        sources = {name: ast.parse(wheel.read(name)) for name in names if name.endswith(".py")}
    assert {re.sub(r"-.*", "", name.split("/")[0]) for name in names} == {"parley", "parley_voice"}
    page = {f"parley/{path.relative_to(ROOT)}" for path in PAGE.rglob("*") if path.is_file()}
    assert page == {name for name in names if name.startswith(f"parley/{PAGE.relative_to(ROOT)}/")}
    assert "parley/py.typed" in names
    imported = {
        module
        for tree in sources.values()
        for node in ast.walk(tree)
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "parley.llm.interface" in imported
    assert not {module for module in imported if module.split(".")[0] in PACKAGES}


def test_the_wheel_works_beside_strangers(installed: Path, tmp_path: Path) -> None:
    parley = installed.parent / "parley"
    assert re.fullmatch(r"parley \d+\.\d+\.\d+\n", run(parley, "--version", cwd=tmp_path))
    assert run(parley, "settings", cwd=tmp_path) == (ROOT / "docs" / "settings.md").read_text()
    run(parley, "say", "hello", "--out", "hello.wav", "--profile", "embedded", cwd=tmp_path)  # a child process speaks
    heard = run(parley, "listen", "hello.wav", "--profile", "embedded", cwd=tmp_path)  # another one listens
    assert heard == "hello\n"
    strangers = f"import {', '.join(PACKAGES)}\nassert all(p.IS_STRANGER for p in ({', '.join(PACKAGES)}))\n"
    run(installed, "-c", USER_CODE + strangers, cwd=tmp_path)


def test_doctor_of_the_wheel_finds_all_it_needs(installed: Path, tmp_path: Path) -> None:
    report = json.loads(run(installed.parent / "parley", "doctor", "--json", "--profile", "embedded", cwd=tmp_path))
    packages = [finding for finding in report["machine"] if finding["name"] == "packages"]
    assert [finding["status"] for finding in packages] == ["ok"]
    assert {finding["status"] for finding in report["profiles"]["embedded"]} == {"ok"}


async def test_the_wheel_serves_its_page(installed: Path, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(installed.parent / "parley", "serve", "--port", "0", "--profile", "embedded"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_S), ClientSession(timeout=ClientTimeout(total=LIMIT_S)) as http:
            assert process.stdout
            address = (await process.stdout.readline()).decode().split()[-1]
            async with http.get(address) as page:
                assert page.status == 200
                assert "<title>" in await page.text()
            async with http.get(f"{address}/main.js") as script:
                assert script.status == 200
            process.terminate()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_an_editable_install_has_the_names_of_both(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    pip(python, "--no-build-isolation", "--editable", ROOT)
    assert run(python.parent / "parley", "--version", cwd=tmp_path).startswith("parley ")
    run(python, "-c", USER_CODE + "import agent.tools\nassert agent.tools is tools", cwd=tmp_path)


def test_a_stranger_before_the_checkout_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "__init__.py").touch()
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\ntry: import agent\n"
    said = run(sys.executable, "-c", code + "except ImportError as error: print(error)")
    assert f"llm ({tmp_path / 'llm' / '__init__.py'})" in said


def test_imports_are_rewritten_where_they_stand(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    for before, after in (
        ("from llm import interface\n", "from parley.llm import interface\n"),
        ("from llm.interface import (\n    Message,\n)", "from parley.llm.interface import (\n    Message,\n)"),
        ("import llm.interface as i", "import parley.llm.interface as i"),
        (
            "def f():\n    from asr import x; from tts import y",
            "def f():\n    from parley.asr import x; from parley.tts import y",
        ),
        ("é = 'ü'; from llm import x", "é = 'ü'; from parley.llm import x"),
        ("from . import x\nimport llms\nfrom agents import y", "from . import x\nimport llms\nfrom agents import y"),
        ("text = 'from llm import x'  # import llm", "text = 'from llm import x'  # import llm"),
        ("settings = 'llm.kind', 'agent.tools'", "settings = 'llm.kind', 'agent.tools'"),
    ):
        source.write_text(before)
        assert rewrite_imports(source, ROOT).decode() == after


def test_what_cannot_be_rewritten_ends_the_build(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    for text in (
        "import llm",
        "import llm.interface",
        "import json, llm.interface as i",
        "from \\\n  llm import interface",
        "command = ('-m', 'asr.sphinx.worker')",
        "import_module('llm')",
        "files('webrtc.browser')",
    ):
        source.write_text(text)
        with pytest.raises(CannotRewrite, match=re.escape(f"{source}:1")):
            rewrite_imports(source, ROOT)
