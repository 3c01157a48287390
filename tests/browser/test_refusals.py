"""What the page tells a caller when no call is possible."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Any]]


async def fails_to_capture(page: Page, name: str) -> None:
    await page.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', name); }; }", name
    )


async def test_a_microphone_that_fails_is_explained(open_page: OpenPage) -> None:
    caller = await open_page()
    for error, message in (
        ("NotAllowedError", "The microphone is blocked"),
        ("NotFoundError", "No microphone was found"),
        ("NotReadableError", "The microphone could not be opened"),
    ):
        await fails_to_capture(caller.page, error)
        await caller.button.click()
        await expect(caller.problem).to_contain_text(message)
        await expect(caller.button).to_have_text("Call again")


async def test_a_page_without_a_secure_context_is_explained(open_page: OpenPage) -> None:
    caller = await open_page()
    await caller.page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    await caller.button.click()
    await expect(caller.problem).to_contain_text("The microphone is not available here")


async def test_a_refusal_is_explained(open_page: OpenPage) -> None:
    caller = await open_page()
    statuses: list[int] = []
    await caller.page.route("**/api/offer", lambda route: route.fulfill(status=statuses[-1], json={"error": "no"}))
    for status, message in (
        (401, "This link is not valid any more"),
        (403, "allowed_origins"),
        (429, "Too many calls from here"),
        (500, "The server did not take the call"),
        (503, "All lines are busy"),
    ):
        statuses.append(status)
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
