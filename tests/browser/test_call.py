"""Whole calls: what the browser hears and shows, when the caller speaks, interrupts, coughs, and leaves."""

import asyncio
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import expect

from asr.config import SphinxConfig
from asr.sphinx.engine import SphinxRecognizer
from benchmarks.far_end.material import backchannel, cough, sentence
from benchmarks.far_end.servers import parley
from llm.demo.grammar import training_sentences
from tests.fakes import PATIENCE_S

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Any]]
Launch = Callable[..., Awaitable[Any]]
Noise = Callable[[], NDArray[np.float32]]

SAMPLE_RATE_HZ = 48_000
FRAME = SAMPLE_RATE_HZ // 50
MARGIN = SAMPLE_RATE_HZ * 3 // 10
QUIET_DBFS = -45.0


def is_audible(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each 20 ms frame can be heard, [F]."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12) > QUIET_DBFS


async def no_calls_left(caller: Any) -> None:
    """The server has let go of every call."""
    await caller.page.context.new_page()  # the caller's page may be gone
    page = caller.page.context.pages[-1]
    await page.goto(f"{caller.url}/healthz")
    await page.wait_for_function("async () => (await (await fetch('/healthz')).json()).calls === 0", polling=200)
    await page.close()


async def test_a_question_is_heard_answered_and_captioned(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.call()
    greeted = await caller.recorded()
    assert is_audible((await caller.recording()).agent[:greeted]).mean() > 0.1

    await caller.say(sentence("what is two plus two"))
    await expect(caller.caller_turns.last).to_contain_text("what is two plus two")
    await expect(caller.agent_turns.last).to_contain_text("four")
    await caller.wait_state("listening")
    answer = (await caller.recording()).since(greeted).agent
    assert is_audible(answer).sum() * FRAME > 0.5 * SAMPLE_RATE_HZ

    await caller.button.click()
    await expect(caller.state).to_have_text("Ended")
    await no_calls_left(caller)


async def test_the_embedded_recognizer_understands_what_the_browser_hears(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.call()
    understood = await transcribe((await caller.recording()).agent)
    assert {"hello", "parley"} <= set(understood.split()), understood


async def transcribe(samples: NDArray[np.float32]) -> str:
    """The words of a 48 kHz recording, by the engine that the agent hears with; as there, silence is left out."""
    audible = np.flatnonzero(is_audible(samples))
    samples = samples[max(0, audible[0] * FRAME - MARGIN) : audible[-1] * FRAME + MARGIN]
    samples = samples[: len(samples) // 6 * 6]
    spectrum = np.fft.rfft(samples)
    decimated = np.fft.irfft(spectrum[: len(samples) // 6 + 1], len(samples) // 3).astype(np.float32) / np.float32(3)
    recognizer = SphinxRecognizer(SphinxConfig(), training_sentences())
    async with asyncio.timeout(PATIENCE_S), recognizer, recognizer.listen() as recognition:
        recognition.push(decimated)
        recognition.flush()
        return await anext(transcript.text async for transcript in recognition if transcript.is_final)


async def test_a_barge_in_silences_the_agent_and_marks_its_words(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.call()
    await caller.say(sentence("tell me a story"))
    story = caller.agent_turns.nth(1)
    await expect(story).to_be_attached()
    await caller.wait_words(story, 8)
    await caller.say(sentence("stop"))
    await expect(story.locator(".mark")).to_have_text("interrupted")
    await expect(caller.page.locator("#decision")).to_contain_text("Stopped after")
    cut_words = await caller.words_of(story)

    await caller.wait_state("listening")
    await caller.listen(seconds=3)
    await caller.wait_state("listening")
    before = await caller.recorded()
    await caller.listen(seconds=2)
    assert not is_audible((await caller.recording()).since(before).agent).any()
    assert await caller.words_of(story) == cut_words


@pytest.mark.parametrize("noise", [lambda: cough(1, is_voiced=True), lambda: backchannel(0)], ids=["cough", "mhm"])
async def test_what_is_no_barge_in_is_noticed_and_cuts_nothing(open_page: OpenPage, noise: Noise) -> None:
    caller = await open_page()
    await caller.call()
    await caller.say(sentence("tell me a story"))
    story = caller.agent_turns.nth(1)
    await expect(story).to_be_attached()
    await caller.wait_words(story, 4)
    decision = caller.page.locator("#decision")
    await caller.say(noise())
    await expect(decision).to_contain_text("Went on")  # so it was heard, and the agent had lowered its voice
    words = len(await caller.words_of(story))
    await caller.wait_words(story, words + 8)
    assert await story.locator(".mark").count() == 0, await decision.text_content()
    await caller.wait_state("speaking")


async def test_a_call_can_be_made_again_without_reloading(open_page: OpenPage) -> None:
    caller = await open_page()
    for _ in range(2):
        await caller.call()
        await expect(caller.agent_turns).to_have_count(1)
        await caller.button.click()
        await expect(caller.button).to_have_text("Call again")
    await no_calls_left(caller)


async def test_leaving_the_page_ends_the_call(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.call()
    assert await caller.calls_on_server() == 1
    await caller.page.goto("about:blank")
    await no_calls_left(caller)


async def test_the_browsers_own_microphone_reaches_the_agent(
    open_page: OpenPage, launch: Launch, tmp_path: Path
) -> None:
    silence = np.zeros(8 * SAMPLE_RATE_HZ, np.float32)  # outlasts the greeting; time starts as the microphone opens
    samples = np.concatenate([silence, sentence("tell me a story"), silence])
    with wave.open(str(tmp_path / "microphone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)  # Chromium takes 24-bit files for silence
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    browser = await launch(f"--use-file-for-fake-audio-capture={tmp_path / 'microphone.wav'}%noloop")
    caller = await open_page(browser=browser, has_harness=False)
    await caller.page.get_by_role("switch", name="Headphones").set_checked(True, force=True)
    await caller.call()
    await expect(caller.caller_turns.first).to_contain_text("story")
    await expect(caller.agent_turns).to_have_count(2)
    await browser.close()


async def test_a_full_server_and_a_lost_one_are_explained(open_page: OpenPage, settings: dict[str, str]) -> None:
    async with parley(settings={**settings, "PARLEY_ADMISSION__MAX_CALLS": "1"}) as server:
        first, second = await open_page(url=server.url), await open_page(url=server.url)
        await first.call()
        await second.button.click()
        await expect(second.problem).to_contain_text("All lines are busy")
        server.process.kill()
        await expect(first.problem).to_contain_text("The connection was lost")
        await expect(first.button).to_have_text("Call again")
