"""The scripted calls: what the caller says, when, and what the recording of the far end shows for it.

Every call comes to "tell me a story". Then the story goes on undisturbed (the reference), or the caller interrupts it,
coughs, or says "mhm". Callers who mean to interrupt ask a question first, so that more kinds of turns are timed.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from benchmarks.far_end import material, tracking, waveform
from benchmarks.far_end.caller import Caller
from benchmarks.far_end.microphone import PACKET_MS, encode
from benchmarks.far_end.servers import Server
from benchmarks.far_end.tracking import Continuity
from benchmarks.far_end.waveform import SAMPLE_RATE_HZ, Recording

PACKET_S = PACKET_MS / 1000  # a microphone hears a packet's first sample that long before the packet leaves
SETTLE_S = 1.0  # between the connection and the first word
REPLY_TIMEOUT_S = 8.0
ANSWER_TIMEOUT_S = 20.0
ANSWERED_S = 1.2  # an answer has ended when this long nothing more was heard
REFERENCE_S = 30.0
OBSERVED_S = 9.0  # after a cough; the stock bot takes more than five seconds to speak again
AFTER_CUT_S = 3.0
POLL_S = 0.1  # only to notice; times are read off the recording

# The caller comes in where the story runs on without a pause, so that a ducked or missing packet shows at once.
EARLIEST_S = 2.5
FLUENT_S = 0.6
FLUENT_PAUSE_S = 0.06


class Scenario(StrEnum):
    """What the caller does during the story."""

    REFERENCE = "reference"
    INTERRUPTION = "interruption"
    AFTER_LOSS = "interruption after a lost packet"
    COUGH = "cough"
    VOICED_COUGH = "voiced cough"
    BACKCHANNEL = "mhm"

    @property
    def is_interruption(self) -> bool:
        """Whether the caller wants the floor."""
        return self in (Scenario.INTERRUPTION, Scenario.AFTER_LOSS)


@dataclass(frozen=True, slots=True)
class StoryRecording:
    """The story as a server tells it undisturbed, from its first audible sample."""

    samples: NDArray[np.float32]  # [S] 48 kHz mono

    def fluent_moments(self) -> list[float]:
        """Times in s from which the story runs on for FLUENT_S, at least that far apart."""
        pauses = waveform.silences(self.samples, FLUENT_PAUSE_S)
        edges = [0, *(edge for pause in pauses for edge in (pause.start, pause.end)), len(self.samples)]
        moments: list[float] = []
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            moment = max(start / SAMPLE_RATE_HZ, EARLIEST_S)
            while moment + FLUENT_S <= end / SAMPLE_RATE_HZ:
                moments.append(moment)
                moment += FLUENT_S
        return moments


@dataclass(frozen=True, slots=True)
class Observation:
    """What one call showed. Times in s; None where it did not happen."""

    scenario: Scenario
    reply_s: Sequence[float]  # end of the caller's speech to the first audible sample, each turn that was answered
    unanswered: int
    ducked_s: float | None = None  # caller's first audible sample to the first ducked packet
    cut_s: float | None = None  # ... to the last packet with agent speech
    dead_air_s: float = 0.0  # silence after the cut
    is_stale: bool = False  # speech from before the cut was heard after it
    continuity: Continuity | None = None  # of a story that went on, perhaps after a hole


class NoStory(RuntimeError):
    """The server did not tell the story that the measurement needs."""


async def tell(server: Server) -> StoryRecording:
    """The reference: the story, undisturbed."""
    async with Caller(server.url) as caller:
        await asyncio.sleep(SETTLE_S)
        asked_s = await _ask(caller, material.sentence(material.STORY))
        await asyncio.sleep(REFERENCE_S)
        recording = caller.recording()
    onset_s = waveform.onset_s(recording, asked_s)
    if onset_s is None:
        raise NoStory(f"{server.name} did not tell a story; is the recognizer understanding {material.STORY!r}?")
    first = recording.index_at(asked_s) + (
        waveform.first_audible(recording.samples[recording.index_at(asked_s) :]) or 0
    )
    return StoryRecording(recording.samples[first:])


async def hold_call(server: Server, scenario: Scenario, number: int, story: StoryRecording) -> Observation:
    """One scripted call; `number` varies the words and the moment."""
    moments = story.fluent_moments()
    if not moments:
        raise NoStory(f"{server.name}'s story has no stretch of {FLUENT_S} s without a pause")
    moment_s = moments[number * 3 % len(moments)]
    said = _words(scenario, number)
    said_packets = encode(said)
    async with Caller(server.url) as caller:
        await asyncio.sleep(SETTLE_S)
        replies = [await _ask_question(caller, number)] if scenario.is_interruption else []
        asked_s = await _ask(caller, material.sentence(material.STORY))
        onset_s = await _heard(caller, asked_s, REPLY_TIMEOUT_S)
        if onset_s is None:
            return Observation(scenario, *_split_unanswered([*replies, None]))
        if scenario is Scenario.AFTER_LOSS:
            caller.lose_packets(1)
        await asyncio.sleep(max(0.0, onset_s + moment_s - time.monotonic()))
        said_s = await caller.say_packets(said_packets) - PACKET_S + _first_s(said)
        await asyncio.sleep(AFTER_CUT_S if scenario.is_interruption else OBSERVED_S)
        recording = caller.recording()
    replies.append(onset_s - asked_s)
    return observe(scenario, replies, recording, story, asked_s, said_s)


async def _ask_question(caller: Caller, number: int) -> float | None:
    """Ask and hear the answer out; its latency, None if there was none."""
    ended_s = await _ask(caller, material.question(number))
    onset_s = await _heard(caller, ended_s, REPLY_TIMEOUT_S)
    if onset_s is None:
        return None
    await _quiet(caller, onset_s)
    return onset_s - ended_s


async def _ask(caller: Caller, words: NDArray[np.float32]) -> float:
    """Say it; when its last audible sample left."""
    began_s = await caller.say(words) - PACKET_S
    last = waveform.last_audible(words)
    assert last is not None
    ended_s = began_s + last / SAMPLE_RATE_HZ
    await asyncio.sleep(max(0.0, ended_s - time.monotonic()))
    return ended_s


async def _heard(caller: Caller, after_s: float, timeout_s: float) -> float | None:
    """When the agent's first audible sample after `after_s` was heard; None if it did not come in time."""
    while time.monotonic() < after_s + timeout_s:
        onset_s = waveform.onset_s(caller.recording(), after_s)
        if onset_s is not None:
            return onset_s
        await asyncio.sleep(POLL_S)
    return None


async def _quiet(caller: Caller, after_s: float) -> None:
    """Wait until the agent has finished speaking."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while time.monotonic() < deadline:
        await asyncio.sleep(ANSWERED_S / 4)
        recording = caller.recording()
        tail = recording.samples[recording.index_at(max(after_s, time.monotonic() - ANSWERED_S)) :]
        if time.monotonic() > after_s + ANSWERED_S and waveform.first_audible(tail) is None:
            return
    raise NoStory(f"the answer did not end within {ANSWER_TIMEOUT_S:.0f} s")


def _words(scenario: Scenario, number: int) -> NDArray[np.float32]:
    match scenario:
        case Scenario.INTERRUPTION | Scenario.AFTER_LOSS:
            return material.interruption(number)
        case Scenario.COUGH:
            return material.cough(number, is_voiced=False)
        case Scenario.VOICED_COUGH:
            return material.cough(number, is_voiced=True)
        case Scenario.BACKCHANNEL:
            return material.backchannel(number)
        case Scenario.REFERENCE:
            raise ValueError("the reference has no caller speech")


def _first_s(samples: NDArray[np.float32]) -> float:
    first = waveform.first_audible(samples)
    assert first is not None
    return first / SAMPLE_RATE_HZ


def _split_unanswered(replies: Sequence[float | None]) -> tuple[list[float], int]:
    return [reply for reply in replies if reply is not None], sum(reply is None for reply in replies)


def observe(
    scenario: Scenario,
    replies: Sequence[float | None],
    recording: Recording,
    story: StoryRecording,
    asked_s: float,
    said_s: float,
) -> Observation:
    """Read the recording against the undisturbed story."""
    began = recording.index_at(asked_s)
    began += waveform.first_audible(recording.samples[began:]) or 0
    heard = recording.since(began)
    matches = tracking.track(heard.samples, story.samples, 0)
    disturbed = heard.index_at(said_s)
    before = [match for match in matches if match.index + tracking.WINDOW_SAMPLES <= disturbed]
    if not before:
        raise NoStory("the story differs from the undisturbed one before the caller came in")
    cut = tracking.cut_after(heard, story.samples, matches, said_s)
    end = len(heard.samples) if cut is None else cut.index
    ducked_s = tracking.first_ducked_s(heard, story.samples, before[-1].lag, said_s, end)
    is_whole = cut is None or tracking.goes_on(heard.samples, matches, end)
    answered, unanswered = _split_unanswered(replies)
    return Observation(
        scenario,
        answered,
        unanswered,
        ducked_s=None if ducked_s is None else ducked_s - said_s,
        cut_s=None if cut is None else cut.packet_s - said_s,
        dead_air_s=0.0 if cut is None else cut.silence_s,
        is_stale=cut is not None
        and scenario.is_interruption
        and tracking.speech_continues(heard.samples[end + tracking.HOP_SAMPLES :], story.samples, end + before[-1].lag),
        continuity=tracking.continuity(heard.samples, story.samples, matches) if is_whole else None,
    )
