"""Whole calls: a peer that speaks over real UDP, the embedded engines, every floor but the server."""

import asyncio

import numpy as np
import pytest

from benchmarks.far_end.material import backchannel, cough
from pipelines.call import Engines
from pipelines.config import CallConfig
from tests.fakes import PATIENCE_S
from tests.fakes.conversation import calling

pytestmark = [pytest.mark.real_time, pytest.mark.usefixtures("quiet_pipecat")]


async def test_a_question_is_answered_aloud(embedded: Engines, config: CallConfig) -> None:
    async with calling(embedded, config) as conversation:
        await conversation.say("what time is it")
        await conversation.state("speaking")
        await conversation.hears("is")
        await conversation.state("listening")
        assert np.abs(conversation.caller.recording().samples).max() > 0.05


async def test_an_interruption_silences_the_agent_and_cuts_its_words(embedded: Engines, config: CallConfig) -> None:
    async with calling(embedded, config) as conversation:
        await conversation.say("tell me a story")
        await conversation.hears("one")
        await conversation.say("stop please")
        cut = await conversation.until("interrupted")
        assert "".join(conversation.told("heard", "text")).strip().endswith(cut["heard"])
        assert conversation.decisions[:2] == ["duck", "mute"]
        assert conversation.decisions[-1] == "cut"


async def test_a_cough_and_a_hum_are_noticed_and_do_not_cut(embedded: Engines, config: CallConfig) -> None:
    async with calling(embedded, config) as conversation:
        await conversation.say("tell me a story")
        await conversation.hears("one")
        for number, noise in enumerate((cough(1, is_voiced=True), backchannel(0))):
            await conversation.caller.say(noise)
            await conversation.until("decision", decision="duck")
            await conversation.until("decision", decision="resume")
            assert conversation.decisions.count("resume") == number + 1, conversation.decisions
            await conversation.until("heard")
        assert "cut" not in conversation.decisions
        assert not conversation.told("interrupted", "heard")


async def test_goodbye_ends_the_call_once_it_was_heard(embedded: Engines, config: CallConfig) -> None:
    async with calling(embedded, config) as conversation:
        await conversation.say("goodbye")
        await conversation.hears("goodbye")
        await conversation.state("listening")
        assert await conversation.end() == "ended by the agent"
        assert "".join(conversation.told("heard", "text")).strip().endswith("Goodbye! It was nice talking with you.")
        assert not conversation.told("interrupted", "heard")


async def test_a_hang_up_leaves_no_task(embedded: Engines, config: CallConfig) -> None:
    before = asyncio.all_tasks()
    async with calling(embedded, config) as conversation:
        await conversation.say("tell me a story")
        await conversation.hears("one")
    async with asyncio.timeout(PATIENCE_S):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110  # nobody tells when they have ended
            await asyncio.sleep(0.02)
