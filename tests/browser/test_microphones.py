"""Which microphone the page opens, with or without an echo canceller, and that it remembers both."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Any]]


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
