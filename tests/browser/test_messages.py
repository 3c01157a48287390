"""What the page makes of messages: Parley's own, any Pipecat bot's, and nonsense."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenPage = Callable[..., Awaitable[Any]]
Read = Callable[..., Awaitable[list[dict[str, Any]]]]

NOW_MS = 5_000.0


def rtvi(kind: str, **data: Any) -> dict[str, Any]:
    return {"label": "rtvi-ai", "type": kind, "data": data}


def parley(event: str, **data: Any) -> dict[str, Any]:
    return rtvi("server-message", type="parley", event=event, **data)


@pytest.fixture
def read(open_page: OpenPage) -> Read:
    """`await read(*messages)`: the events of the messages of one call, each received at NOW_MS."""

    async def messages_to_events(*messages: Any) -> list[dict[str, Any]]:
        caller = await open_page()
        texts = [message if isinstance(message, str) else json.dumps(message) for message in messages]
        return await caller.page.evaluate(
            """async ([texts, nowMs]) => {
                const { MessageReader } = await import("/call/messages.js");
                const reader = new MessageReader();
                return texts.flatMap((text) => reader.read(text, nowMs));
            }""",
            [texts, NOW_MS],
        )

    return messages_to_events


async def test_nonsense_is_ignored(read: Read) -> None:
    nonsense = ["", "{", "null", "[1]", '"text"', "7", {"label": "other", "type": "error"}, rtvi("constructor")]
    assert await read(*nonsense, rtvi("surprise"), parley("surprise"), parley("toString"), {"type": "signalling"}) == []


async def test_wrong_fields_become_harmless_ones(read: Read) -> None:
    events = await read(
        parley("about", **{"agent": 1, "engine": None, "suggestions": ["a", 7, ""]}),
        parley("latency", name="reply", ms="soon"),
        {"label": "rtvi-ai", "type": "user-transcription"},
    )
    about, latency, transcript = events
    assert (about["agent"], about["engine"], about["phrases"]) == ("", "", ["a"])
    assert latency["ms"] is None
    assert (transcript["text"], transcript["isFinal"]) == ("", False)


async def test_call_time_is_mapped_to_the_page_by_the_fastest_message(read: Read) -> None:
    slow, fast, later = await read(
        parley("vad", is_speech=True, t_ms=1_000),
        parley("vad", is_speech=False, t_ms=1_200),
        parley("vad", is_speech=True, t_ms=1_100),
    )
    assert slow["atMs"] == NOW_MS
    assert fast["atMs"] == NOW_MS
    assert later["atMs"] == NOW_MS - 100


async def test_a_plain_pipecat_bot_is_understood(read: Read) -> None:
    events = await read(
        rtvi("bot-ready", version="2.0.0"),
        rtvi("user-started-speaking"),
        rtvi("user-transcription", text="hello", final=True),
        rtvi("bot-llm-started"),
        rtvi("bot-started-speaking"),
        rtvi("bot-tts-text", text="Hi"),
        rtvi("bot-interrupted"),
        {"type": "signalling", "message": {"type": "peerLeft"}},
    )
    kinds = [event["kind"] for event in events]
    assert kinds == ["ready", "speech", "transcript", "state", "state", "heard", "mute", "interrupted", "left"]


async def test_parleys_own_words_are_not_shown_twice(read: Read) -> None:
    events = await read(
        parley("about", agent="Parley"),
        parley("heard", text=" Hi", utterance=1),
        rtvi("bot-tts-text", text="Hi"),
        rtvi("bot-started-speaking"),
    )
    assert [event["kind"] for event in events] == ["about", "heard"]


async def captions(open_page: OpenPage, script: str) -> list[dict[str, str]]:
    """What the captions show after a script that has them as `captions`."""
    caller = await open_page()
    return await caller.page.evaluate(
        f"""async () => {{
            const {{ Captions }} = await import("/view/captions.js");
            const list = document.getElementById("captions");
            const captions = new Captions(list);
            {script}
            return [...list.children].map((item) => ({{
                side: item.classList[0],
                words: [...item.querySelectorAll(".words")].map((words) => words.textContent).join("").trim(),
                mark: item.querySelector(".mark")?.textContent ?? "",
                interim: String(item.classList.contains("interim")),
            }}));
        }}"""
    )


async def test_partial_transcripts_become_one_final_turn(open_page: OpenPage) -> None:
    (turn,) = await captions(
        open_page,
        """captions.transcript("what", false); captions.transcript("what time", false);
           captions.transcript("what time is it", true);""",
    )
    assert turn == {"side": "you", "words": "what time is it", "mark": "", "interim": "false"}


async def test_a_transcript_that_turns_out_empty_leaves_nothing(open_page: OpenPage) -> None:
    assert await captions(open_page, """captions.transcript("t", false); captions.transcript("", true);""") == []


async def test_the_turn_after_an_empty_transcript_has_a_place_of_its_own(open_page: OpenPage) -> None:
    agent, caller = await captions(
        open_page,
        """captions.transcript("what", false); captions.heard(" Hello.", 1); captions.transcript("", true);
           captions.transcript("tell me a story", true);""",
    )
    assert (agent["side"], agent["words"]) == ("agent", "Hello.")
    assert (caller["side"], caller["words"]) == ("you", "tell me a story")


async def test_words_that_come_back_after_an_empty_partial_transcript_are_shown(open_page: OpenPage) -> None:
    (turn,) = await captions(
        open_page,
        """captions.transcript("wha", false); captions.transcript("", false); captions.transcript("what", false);""",
    )
    assert turn == {"side": "you", "words": "what", "mark": "", "interim": "true"}


async def test_an_interruption_cuts_the_words_to_what_was_heard(open_page: OpenPage) -> None:
    first, second = await captions(
        open_page,
        """captions.heard(" Once.", 1); captions.heard(" There", 2); captions.heard(" was", 2);
           captions.heard(" a", 2); captions.interrupted(2, "There was"); captions.heard(" Okay.", 3);""",
    )
    assert first == {"side": "agent", "words": "Once. There was", "mark": "interrupted", "interim": "false"}
    assert second["words"] == "Okay."


async def test_an_interruption_leaves_the_words_of_other_utterances(open_page: OpenPage) -> None:
    (turn,) = await captions(
        open_page,
        """captions.heard(" Let me look.", 1); captions.heard(" Here", 2); captions.heard(" it", 2);
           captions.interrupted(1, "Let"); captions.interrupted(3, "No"); captions.interrupted(2, "Here");""",
    )
    assert turn == {"side": "agent", "words": "Let me look. Here", "mark": "interrupted", "interim": "false"}


async def test_an_utterance_goes_on_in_its_own_turn_after_a_back_channel(open_page: OpenPage) -> None:
    agent, caller = await captions(
        open_page,
        """captions.heard(" Once", 1); captions.transcript("mhm", true); captions.heard(" upon", 1);""",
    )
    assert agent["words"] == "Once upon"
    assert caller["words"] == "mhm"


async def test_the_agents_voice_never_stays_muted(open_page: OpenPage) -> None:
    caller = await open_page()
    muted = await caller.page.evaluate(
        """async () => {
            const { Speaker } = await import("/call/speaker.js");
            const audio = document.getElementById("voice");
            const speaker = new Speaker(audio);
            speaker.mute();
            const muted = [audio.muted];
            speaker.speak();
            muted.push(audio.muted);
            speaker.mute();
            await new Promise((resolve) => audio.addEventListener("volumechange", () => audio.muted || resolve()));
            return [...muted, audio.muted];
        }"""
    )
    assert muted == [True, False, False]
