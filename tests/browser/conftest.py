"""A real Chromium that calls the running server, with a scripted microphone and a recorder on one clock."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from benchmarks.far_end.browser import NOT_FOUND, find_chromium
from benchmarks.far_end.servers import Server, parley
from tests.fakes import PATIENCE_S

HERE = Path(__file__).parent
GREETING = "Hello, this is Parley."
PATIENCE_MS = PATIENCE_S * 1000
SAMPLE_RATE_HZ = 48_000
FRAME = SAMPLE_RATE_HZ // 50

# The recorder travels as text: its worklet has no file on the server.
HARNESS = (HERE / "harness.js").read_text().replace("RECORDER", json.dumps((HERE / "recorder.js").read_text()))
FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",  # a machine may have no other network
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # nothing leaves this machine
)

expect.set_options(timeout=PATIENCE_MS)

OpenPage = Callable[..., Awaitable["CallPage"]]
Launch = Callable[..., Awaitable[Browser]]


@dataclass(frozen=True, slots=True)
class Recording:
    """What the microphone sent and what the browser heard, on one clock."""

    microphone: NDArray[np.float32]  # [S] 48 kHz
    agent: NDArray[np.float32]  # [S] 48 kHz

    def since(self, sample: int) -> "Recording":
        return Recording(self.microphone[sample:], self.agent[sample:])


@dataclass(frozen=True, slots=True)
class CallPage:
    """The page as a caller uses it."""

    page: Page
    url: str

    @property
    def button(self) -> Locator:
        return self.page.locator("#call")

    @property
    def state(self) -> Locator:
        return self.page.locator("#state")

    @property
    def problem(self) -> Locator:
        return self.page.get_by_role("alert")

    @property
    def agent_turns(self) -> Locator:
        return self.page.locator("#captions .agent")

    @property
    def caller_turns(self) -> Locator:
        return self.page.locator("#captions .you:not(.interim)")

    async def call(self) -> None:
        """Call, and wait until the greeting was heard to its end."""
        await self.button.click()
        await expect(self.agent_turns.first).to_contain_text(GREETING)
        await self.wait_state("listening")

    async def wait_state(self, state: str) -> None:
        await expect(self.state).to_have_attribute("data-state", state)

    async def say(self, samples: NDArray[np.float32]) -> None:
        """Speak 48 kHz mono samples into the scripted microphone, to their end."""
        pcm16 = base64.b64encode((samples * 32767).astype("<i2").tobytes()).decode()
        await self.page.evaluate("pcm16 => harness.say(pcm16)", pcm16)

    async def words_of(self, turn: Locator) -> list[str]:
        return " ".join(await turn.locator(".words").all_text_contents()).split()

    async def wait_words(self, turn: Locator, count: int) -> None:
        """Wait until the agent has been heard to say this many words in a turn, or was interrupted in it."""
        await self.page.wait_for_function(
            "([turn, count]) => turn.querySelector('.mark') || turn.textContent.split(/\\s+/).length > count",
            arg=[await turn.element_handle(), count],
        )

    async def recorded(self) -> int:
        """How many samples the recorder has."""
        return await self.page.evaluate("harness.chunks.reduce((sum, chunk) => sum + chunk.length / 2, 0)")

    async def listen(self, seconds: float) -> None:
        """Let the recorder run on for so much of its own time."""
        wanted = await self.recorded() + round(seconds * SAMPLE_RATE_HZ)
        await self.page.wait_for_function(
            "wanted => harness.chunks.reduce((sum, chunk) => sum + chunk.length / 2, 0) >= wanted",
            arg=wanted,
        )

    async def recording(self) -> Recording:
        data = base64.b64decode(await self.page.evaluate("harness.recording()"))
        stereo = np.frombuffer(data, "<i2").astype(np.float32).reshape(-1, 2) / np.float32(32767)
        return Recording(stereo[:, 0], stereo[:, 1])

    async def calls_on_server(self) -> int:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/healthz") as response:
            return int((await response.json())["calls"])


@pytest.fixture(scope="session")
def chromium(require: Callable[[bool, str], None]) -> str:
    """The path of the browser."""
    found = find_chromium()
    require(found is not None, NOT_FOUND)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def settings() -> dict[str, str]:
    """The environment of a server under test: unlike one under measurement, it speaks first."""
    return {"PARLEY_AGENT__GREETING": GREETING}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(settings: dict[str, str]) -> AsyncIterator[Server]:
    """The agent on its embedded engines, shared by all tests."""
    async with parley(settings=settings) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def launch(chromium: str) -> AsyncIterator[Launch]:
    """`await launch(*flags)` starts a browser with further flags."""
    async with async_playwright() as playwright:
        browsers: list[Browser] = []

        async def start(*flags: str) -> Browser:
            arguments = [*FLAGS, *flags]
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=arguments, ignore_default_args=["--mute-audio"]
            )
            browsers.append(browser)
            return browser

        yield start
        for browser in browsers:
            await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(launch: Launch) -> Browser:
    """The browser that all tests share."""
    return await launch()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, server: Server) -> AsyncIterator[OpenPage]:
    """`await open_page(...)` opens the page as a new visitor. A script that throws, or a policy it breaks, is an error.

    Options: `url` of another server, `path` with a query, `browser` for another one, `has_harness=False` for the page
    alone with the browser's own microphone; any other goes to Playwright's `new_context`.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    async def start(
        *,
        url: str = server.url,
        path: str = "/",
        has_harness: bool = True,
        browser: Browser = browser,
        **options: object,
    ) -> CallPage:
        # The page's policy forbids the harness's recorder, and is tried by the pages without one.
        context = await browser.new_context(bypass_csp=has_harness, **options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message.text) else None)
        if has_harness:
            await page.add_init_script(HARNESS)
        await page.goto(url + path)
        return CallPage(page, url)

    yield start
    for context in contexts:
        await context.close()
    assert not complaints


def _is_complaint(text: str) -> bool:
    return "Content Security Policy" in text or "Uncaught" in text
