"""One stretch of the caller's voice over the agent's: gathers the evidence, and ducks, hushes or lets the agent go on.

What a cut means for the conversation is not known here.
"""

import logging
from dataclasses import replace

from pipelines.frames import VoiceFrame
from pipelines.listening.vad import SAMPLES_PER_MS, WINDOW_MS
from pipelines.observer import Timeline
from pipelines.turn_taking.agent_control import AgentVoice
from pipelines.turn_taking.barge_in import Decision, Evidence, Verdict, decide
from pipelines.turn_taking.config import BargeInConfig

logger = logging.getLogger(__name__)


class Overlap:
    """Begins with the first sound and ends with a decision to cut or to resume."""

    def __init__(self, agent: AgentVoice, timeline: Timeline, config: BargeInConfig) -> None:
        self._agent = agent
        self._timeline = timeline
        self._config = config
        self._evidence: Evidence | None = None
        self._passed: Evidence | None = None  # let pass before its words were known
        self._start_samples = 0

    @property
    def is_on(self) -> bool:
        """Whether there is a voice to judge."""
        return self._evidence is not None

    @property
    def words(self) -> str:
        """Its final words, "" if there are none or they are not known yet."""
        return (self._evidence.words or "") if self._evidence else ""

    def weigh(self, window: VoiceFrame) -> Decision:
        """Add a window to the evidence, act on it, and tell what was decided."""
        if self._evidence is None:
            if not (window.is_speech or window.is_sibilant):
                return Decision.WAIT
            self._evidence, self._passed = Evidence(), None
            self._start_samples = window.end_samples - WINDOW_MS * SAMPLES_PER_MS
        self._evidence = self._evidence.with_window(
            WINDOW_MS,
            is_speech=window.is_speech,
            is_sibilant=window.is_sibilant,
            is_voiced=window.is_voiced,
            is_hum=window.is_hum,
        )
        self._agent.speech.top_up()
        return self._judge(self._evidence, window.end_samples)

    def hear(self, words: str, now_samples: int) -> Decision:
        """Add the final words, act on them, and tell what was decided."""
        if self._evidence is None:
            return Decision.WAIT
        self._evidence = replace(self._evidence, words=words)
        return self._judge(self._evidence, now_samples)

    def hear_late(self, words: str, now_samples: int) -> Decision:
        """Judge the final words of a voice that was let pass without them, and tell whether they cut after all."""
        evidence, self._passed = self._passed, None
        if evidence is None:
            return Decision.WAIT
        decision = decide(replace(evidence, words=words, silence_ms=0), self._config).decision
        if decision is Decision.CUT:
            self._report(Verdict(decision, "late words"), (now_samples - self._start_samples) / SAMPLES_PER_MS)
        return decision

    def end(self) -> None:
        """There is nothing to judge any more; an agent that was kept waiting goes on."""
        if self._evidence and self._evidence.stage is not Decision.WAIT:
            self._agent.resume()
        self._evidence = None

    def _judge(self, evidence: Evidence, now_samples: int) -> Decision:
        verdict = decide(evidence, self._config)
        decision = verdict.decision
        was_noticed = evidence.stage is not Decision.WAIT
        if decision is not Decision.WAIT and (was_noticed or decision is not Decision.RESUME):
            self._report(verdict, (now_samples - self._start_samples) / SAMPLES_PER_MS)
        if decision in (Decision.SUSPECT, Decision.HUSH):
            self._evidence = replace(evidence, stage=decision)
            self._timeline.state("ducked")
            if decision is Decision.SUSPECT:
                self._agent.duck()
            else:
                self._agent.hush()
        elif decision is Decision.RESUME:
            self._passed = evidence if evidence.words is None else None
            self.end()
            if was_noticed:
                self._timeline.state("speaking" if self._agent.output.is_speaking else "thinking")
        return decision

    def _report(self, verdict: Verdict, latency_ms: float) -> None:
        self._timeline.decision(verdict.decision.value, verdict.reason, latency_ms)
        logger.info("barge-in: %s (%s) after %d ms", verdict.decision.value, verdict.reason, latency_ms)
