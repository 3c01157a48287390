"""Takes the README's picture, docs/call.png: the page in a real call, with a question, a cough and an interruption."""

import argparse
import asyncio
import sys
import tempfile
import wave
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Page, async_playwright, expect

from benchmarks.far_end.browser import NOT_FOUND, find_chromium
from benchmarks.far_end.material import SAMPLE_RATE_HZ, cough, sentence
from benchmarks.far_end.servers import parley

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "docs" / "call.png"
GREETING = "Hello, this is Parley."
WIDTH_PX, HEIGHT_PX = 880, 1200
PATIENCE_MS = 60_000
FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def caller_audio() -> NDArray[np.float32]:
    """What the caller says, 48 kHz mono; time zero is the opening of the microphone."""
    script = (
        (4.0, sentence("what time is it")),
        (10.0, sentence("tell me a story")),
        (16.0, cough(2, is_voiced=True)),
        (21.0, sentence("hold on")),
    )
    samples = np.zeros(60 * SAMPLE_RATE_HZ, np.float32)
    for start_s, speech in script:
        start = round(start_s * SAMPLE_RATE_HZ)
        samples[start : start + len(speech)] = speech
    return samples


def write_wav(path: Path, samples: NDArray[np.float32]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


async def converse(page: Page) -> None:
    """Call, and go on until the agent was interrupted and has answered that."""
    await page.get_by_role("switch", name="Headphones").set_checked(True, force=True)
    await page.locator("#call").click()
    await expect(page.locator("#captions .mark")).to_be_visible(timeout=PATIENCE_MS)
    await expect(page.locator("#state")).to_have_attribute("data-state", "speaking", timeout=PATIENCE_MS)
    await expect(page.locator("#state")).to_have_attribute("data-state", "listening", timeout=PATIENCE_MS)


async def screenshot(chromium: str, out: Path, scheme: Literal["light", "dark"]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder) / "microphone.wav"
        write_wav(microphone, caller_audio())
        arguments = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}%noloop"]
        async with parley(settings={"PARLEY_AGENT__GREETING": GREETING}) as server, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=arguments)
            page = await browser.new_page(
                viewport={"width": WIDTH_PX, "height": HEIGHT_PX}, device_scale_factor=2, color_scheme=scheme
            )
            await page.goto(server.url)
            await converse(page)
            await page.screenshot(path=out, full_page=True)
            await browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="where to write the picture (default: %(default)s)"
    )
    parser.add_argument("--scheme", choices=("light", "dark"), default="light", help="color scheme")
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        print(NOT_FOUND, file=sys.stderr)
        return 1
    asyncio.run(screenshot(chromium, options.out, options.scheme))
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
