"""How the page looks and is used: by keyboard, on a phone, in either color scheme; what it says amid a call."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Any]]

PHONE = {"width": 360, "height": 740}
TRANSPARENT = "rgba(0, 0, 0, 0)"


async def test_blocked_sound_starts_with_the_callers_next_click(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.evaluate(
        """() => {
            const play = HTMLMediaElement.prototype.play;
            HTMLMediaElement.prototype.play = async function () {
                HTMLMediaElement.prototype.play = play;
                throw new DOMException("", "NotAllowedError");
            };
        }"""
    )
    await caller.call()
    await expect(caller.problem).to_contain_text("The browser holds back the sound")
    await caller.page.locator("h1").click()
    await expect(caller.problem).to_be_empty()
    assert await caller.page.evaluate("!document.getElementById('voice').paused")


async def test_a_problem_of_the_agent_is_over_when_it_speaks_again(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.evaluate(
        """() => {
            const create = RTCPeerConnection.prototype.createDataChannel;
            RTCPeerConnection.prototype.createDataChannel = function (...options) {
                const channel = create.apply(this, options);
                window.receive = (type, data) => channel.dispatchEvent(
                    new MessageEvent("message", { data: JSON.stringify({ label: "rtvi-ai", type, data }) }));
                return channel;
            };
        }"""
    )
    await caller.call()
    await caller.page.evaluate("receive('error', { error: 'no model', fatal: false })")
    await expect(caller.problem).to_contain_text("The agent has a problem")
    await caller.page.evaluate(
        "receive('server-message', { type: 'parley', event: 'heard', text: ' Fine.', utterance: 99 })"
    )
    await expect(caller.problem).to_be_empty()


async def test_the_keyboard_is_enough(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.route("**/api/offer", lambda route: route.fulfill(status=503))
    reached: list[str] = []
    for _ in range(4):
        await caller.page.keyboard.press("Tab")
        reached.append(await caller.page.evaluate("document.activeElement.id"))
    assert reached == ["call", "microphone", "headphones", "captions"]
    await caller.page.focus("#headphones")
    await caller.page.keyboard.press("Space")
    await expect(caller.page.get_by_role("switch", name="Headphones")).to_be_checked()
    await caller.page.focus("#call")
    await caller.page.keyboard.press("Enter")
    await expect(caller.problem).to_contain_text("All lines are busy")
    assert await caller.page.evaluate("document.activeElement.id") == "call"


async def test_every_control_has_a_name(open_page: OpenPage) -> None:
    caller = await open_page()
    nameless = await caller.page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, meter, canvas, [tabindex]")]
            .filter((node) => !node.labels?.length && !node.ariaLabel && !node.textContent.trim()
                && !node.getAttribute("aria-labelledby"))
            .map((node) => node.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_everything_in_either_color_scheme(open_page: OpenPage, scheme: str) -> None:
    caller = await open_page(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    await caller.page.evaluate(
        """async () => {
            const { Captions } = await import("/view/captions.js");
            const captions = new Captions(document.getElementById("captions"));
            captions.transcript("Pneumonoultramicroscopicsilicovolcanoconiosis".repeat(3), true);
            captions.heard(" Once upon a time", 1);
            captions.interrupted(1, "Once upon a");
        }"""
    )
    assert await caller.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = await caller.page.evaluate(
        """() => [...document.querySelectorAll("button, select, label.switch")]
            .filter((node) => node.getBoundingClientRect().height < 44).map((node) => node.id)"""
    )
    assert small == []
    paper, ink = await caller.page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert luminance(paper) > 0.8 if scheme == "light" else luminance(paper) < 0.05
    for selector in (".lead", ".hint", ".mark", ".speaker", ".captions li:last-child .speaker", ".primary"):
        assert await contrast(caller.page, selector) >= 4.5, selector  # WCAG 2.2, 1.4.3
    assert ink != paper


async def contrast(page: Page, selector: str) -> float:
    """The contrast ratio of an element's text with what lies behind it."""
    front, back = await page.locator(selector).first.evaluate(
        """(node, transparent) => {
            let behind = node;
            while (getComputedStyle(behind).backgroundColor === transparent) behind = behind.parentElement;
            return [getComputedStyle(node).color, getComputedStyle(behind).backgroundColor];
        }""",
        TRANSPARENT,
    )
    lighter, darker = sorted((luminance(front), luminance(back)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: str) -> float:
    """Relative luminance of a CSS rgb() color, WCAG 2.2."""
    channels = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
