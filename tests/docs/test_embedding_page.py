"""docs/embedding.md is true: its servers run as they stand there, and take calls."""

import asyncio
import importlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientConnectionError, ClientSession, ClientTimeout

from benchmarks.far_end.caller import Caller, CallRefused

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "embedding.md").read_text()
AIOHTTP, STARLETTE = re.findall(r"```python\n(.*?)```", PAGE, re.S)
ROW = r"^\| `(parley[\w.]+)` \| (.*) \|$"
MOST_LINES = 60
START_LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A job in the background of a shell ignores SIGINT, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@asynccontextmanager
async def running(folder: Path, source: str, *command: str, ready: str) -> AsyncIterator[ClientSession]:
    """The example in a folder of its own, once the URL `ready` answers; Ctrl-C ends it. It prints to `output`."""
    (folder / "shop.py").write_text(source)
    output = (folder / "output").open("wb")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        cwd=folder,
        stdout=output,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")},
            "PYTHONPATH": str(ROOT),
            "PARLEY_PROFILE": "embedded",
            "PARLEY_WEBRTC__LOOPBACK": "true",
            "PARLEY_ADMISSION__MAX_LOOP_LAG_MS": "5000",  # the machine that tests may be busy with other things
        },
    )
    try:
        async with asyncio.timeout(START_LIMIT_S), ClientSession(timeout=ClientTimeout(total=START_LIMIT_S)) as http:
            await until_it_answers(http, ready, process)
            yield http
            process.send_signal(signal.SIGINT)  # Ctrl-C: everything is taken down
            await process.wait()
    finally:
        output.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_it_answers(http: ClientSession, url: str, process: asyncio.subprocess.Process) -> None:
    while True:
        assert process.returncode is None, "the example ended"
        try:
            async with http.get(url, allow_redirects=False):
                return
        except ClientConnectionError:
            await asyncio.sleep(0.1)  # another process


async def heard(caller: Caller, words: str) -> None:
    """Until the call tells that the caller heard these words, which came as packets."""
    while words not in (await caller.next_message()).text:
        pass
    assert caller.packets


async def test_inside_an_aiohttp_application(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    source = AIOHTTP.replace("8080", url.rpartition(":")[2])
    async with running(tmp_path, source, "shop.py", ready=url) as http:
        async with http.get(url) as home:
            assert "Talk to Marta" in await home.text()
        for file in ("", "main.js", "healthz"):
            async with http.get(f"{url}/voice/{file}") as response:
                assert response.status == 200, file
        async with Caller(f"{url}/voice") as caller:
            await heard(caller, "good evening.")
    assert "evening." in (tmp_path / "output").read_text()  # the sink was given what was heard


async def test_beside_a_starlette_application(tmp_path: Path) -> None:
    port, voice_port = str(free_port()), str(free_port())
    source = STARLETTE.replace("8081", voice_port)
    command = ("-m", "uvicorn", "shop:app", "--port", port)
    async with running(tmp_path, source, *command, ready=f"http://127.0.0.1:{port}/talk") as http:
        with pytest.raises(CallRefused, match="token"):
            async with Caller(f"http://127.0.0.1:{voice_port}"):
                pass
        async with http.get(f"http://127.0.0.1:{port}/talk") as page:
            assert page.url.port == int(voice_port)
            assert "<title>Parley</title>" in await page.text()
        [token] = parse_qs(urlsplit(str(page.url)).query)["token"]
        async with Caller(f"http://127.0.0.1:{voice_port}", token=token) as caller:
            await heard(caller, "this is Parley.")


def test_the_examples_are_short() -> None:
    assert max(len(source.splitlines()) for source in (AIOHTTP, STARLETTE)) < MOST_LINES


def test_the_public_names_are_there() -> None:
    rows = {module: set(re.findall(r"`(\w+)`", names)) for module, names in re.findall(ROW, PAGE, re.M)}
    for module in ("parley.agent.tools", "parley.agent.embedding"):
        assert rows[module] == set(importlib.import_module(module).__all__)
    for module, names in rows.items():
        assert names <= set(vars(importlib.import_module(module))), module
