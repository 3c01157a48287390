"""The page itself: what it tells a caller when no call is possible, and how it looks and is used anywhere."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Any]]

PHONE = {"width": 360, "height": 740}
TRANSPARENT = "rgba(0, 0, 0, 0)"


async def fails_to_capture(page: Page, name: str) -> None:
    await page.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', name); }; }", name
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("NotAllowedError", "The microphone is blocked"),
        ("NotFoundError", "No microphone was found"),
        ("NotReadableError", "The microphone could not be opened"),
    ],
)
async def test_a_microphone_that_fails_is_explained(open_page: OpenPage, error: str, message: str) -> None:
    caller = await open_page()
    await fails_to_capture(caller.page, error)
    await caller.button.click()
    await expect(caller.problem).to_contain_text(message)
    await expect(caller.button).to_have_text("Call again")


async def test_a_page_without_a_secure_context_is_explained(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    await caller.button.click()
    await expect(caller.problem).to_contain_text("The microphone is not available here")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "This link is not valid any more"),
        (403, "allowed_origins"),
        (429, "Too many calls from here"),
        (500, "The server did not take the call"),
        (503, "All lines are busy"),
    ],
)
async def test_a_refusal_is_explained(open_page: OpenPage, status: int, message: str) -> None:
    caller = await open_page()
    await caller.page.route("**/api/offer", lambda route: route.fulfill(status=status, json={"error": "no"}))
    await caller.button.click()
    await expect(caller.problem).to_contain_text(message)
    await expect(caller.state).to_have_text("Ended")


async def test_a_server_out_of_reach_is_explained(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.route("**/api/offer", lambda route: route.abort())
    await caller.button.click()
    await expect(caller.problem).to_contain_text("The server cannot be reached")


async def test_a_broken_answer_is_explained(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.route("**/api/offer", lambda route: route.fulfill(json={"sdp": "nonsense", "type": "answer"}))
    await caller.button.click()
    await expect(caller.problem).to_contain_text("The server did not take the call")


async def test_the_token_of_the_link_is_sent(open_page: OpenPage) -> None:
    caller = await open_page(path="/?token=abc.def")
    sent: list[str | None] = []

    async def refuse(route: Route) -> None:
        sent.append(route.request.headers.get("authorization"))
        await route.fulfill(status=401)

    await caller.page.route("**/api/offer", refuse)
    await caller.button.click()
    await expect(caller.problem).to_be_visible()
    assert sent == ["Bearer abc.def"]


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


async def test_hanging_up_while_connecting_releases_the_microphone(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.route("**/api/offer", lambda route: None)  # never answered
    await caller.page.evaluate(
        """() => {
            const open = navigator.mediaDevices.getUserMedia;
            navigator.mediaDevices.getUserMedia = async (wanted) => (window.opened = await open(wanted));
        }"""
    )
    await caller.button.click()
    await caller.page.wait_for_function("window.opened")
    await expect(caller.state).to_have_text("Connecting")
    await caller.button.click()
    await expect(caller.state).to_have_text("Ended")
    await expect(caller.problem).to_be_empty()
    assert await caller.page.evaluate("window.opened.getTracks().every((track) => track.readyState === 'ended')")


async def test_the_headphones_switch_turns_the_echo_canceller_off_and_is_remembered(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.route("**/api/offer", lambda route: route.fulfill(status=503))
    switch = caller.page.get_by_role("switch", name="Headphones")
    for is_on in (False, True):
        await switch.set_checked(is_on, force=True)
        await caller.button.click()
        await expect(caller.button).to_have_text("Call again")
    asked = await caller.page.evaluate("harness.capture.map((audio) => audio.echoCancellation)")
    assert asked == [True, False]
    await caller.page.reload()
    await expect(switch).to_be_checked()


async def test_the_headphones_switch_stays_as_set_where_storage_is_blocked(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException(); }; }")
    switch = caller.page.get_by_role("switch", name="Headphones")
    await switch.check(force=True)
    await caller.call()
    assert await caller.page.evaluate("harness.capture[0].echoCancellation") is False
    await expect(switch).to_be_checked()


async def plug_in(caller: Any, *, saved: str, plugged: list[str]) -> None:
    """Open the page again with these microphones, which it may see once the caller has allowed one."""
    await caller.page.add_init_script(
        """(() => {
            const plugged = window.plugged = PLUGGED;
            const devices = navigator.mediaDevices;
            const open = devices.getUserMedia;
            let isAllowed = false;
            localStorage.setItem("parley", JSON.stringify({ deviceId: SAVED }));
            devices.getUserMedia = async (wanted) => {
                isAllowed = true;
                const { exact } = wanted.audio.deviceId ?? {};
                if (exact && !plugged.includes(exact)) throw new DOMException("", "OverconstrainedError");
                return open(wanted);
            };
            devices.enumerateDevices = async () => (isAllowed ? plugged : [""])
                .map((deviceId) => ({ kind: "audioinput", deviceId, label: deviceId }));
        })()""".replace("PLUGGED", json.dumps(plugged)).replace("SAVED", json.dumps(saved))
    )
    await caller.page.reload()


async def opened_microphones(caller: Any) -> list[str]:
    """The microphones that were opened so far, empty for the browser's default."""
    return await caller.page.evaluate("harness.capture.map(({ deviceId }) => deviceId?.exact ?? '')")


async def test_a_saved_microphone_is_used_before_the_browser_names_it(open_page: OpenPage) -> None:
    caller = await open_page()
    await plug_in(caller, saved="headset", plugged=["built-in", "headset"])
    microphone = caller.page.get_by_label("Microphone")
    await expect(microphone).to_have_value("")
    await caller.page.get_by_role("switch", name="Headphones").check(force=True)
    await caller.call()
    await expect(microphone).to_have_value("headset")
    await microphone.select_option("built-in")
    await caller.page.wait_for_function("harness.capture.length === 2")
    assert await opened_microphones(caller) == ["headset", "built-in"]


async def test_without_the_saved_microphone_the_default_is_used_and_shown(open_page: OpenPage) -> None:
    caller = await open_page()
    await plug_in(caller, saved="headset", plugged=["built-in"])
    microphone = caller.page.get_by_label("Microphone")
    await caller.call()
    await expect(microphone.locator("option")).to_have_text(["Default", "built-in"])
    await caller.page.evaluate(
        "() => { plugged.push('headset'); navigator.mediaDevices.dispatchEvent(new Event('devicechange')); }"
    )
    await expect(microphone.locator("option")).to_have_text(["Default", "built-in", "headset"])
    await expect(microphone).to_have_value("")
    await microphone.select_option("headset")
    await caller.page.wait_for_function("harness.capture.length === 2")
    assert await opened_microphones(caller) == ["", "headset"]


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
async def test_a_phone_shows_everything_in_either_colour_scheme(open_page: OpenPage, scheme: str) -> None:
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


def luminance(colour: str) -> float:
    """Relative luminance of a CSS rgb() colour, WCAG 2.2."""
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
