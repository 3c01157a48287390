"""What turn-taking may do to the agent: ask whether it has the floor, duck or hush it, let it go on, silence it."""

from dataclasses import dataclass

from pipelines.replying.reply import ReplyService
from pipelines.speaking.speech import SpeechService
from pipelines.transport import CallOutput
from pipelines.turn_taking.config import BargeInConfig
from webrtc.interface import Playout


@dataclass(frozen=True, slots=True)
class AgentVoice:
    """The reply, its speech and its playout as one voice. Every order takes effect in the next packet."""

    reply: ReplyService
    speech: SpeechService
    output: CallOutput
    playout: Playout
    config: BargeInConfig

    @property
    def has_floor(self) -> bool:
        """Whether the agent speaks or is about to."""
        return self.reply.is_busy or self.speech.is_busy or self.output.is_speaking

    def keep_back(self) -> None:
        """Prepare the next reply without a sound and without a tool run, until `release` or `silence`."""
        self.reply.keep_back()
        self.speech.keep_back()

    def release(self) -> None:
        """Let a reply that was kept back be heard."""
        self.reply.release()
        self.speech.release()

    def duck(self) -> None:
        """Go on quietly with what playout has; synthesise no further."""
        self.playout.duck(self.config.duck_db, self.config.ramp_ms)
        self.speech.hold()

    def hush(self) -> None:
        """Fall silent; what playout has stays where it is."""
        self.playout.mute(self.config.ramp_ms)

    def resume(self) -> None:
        """Go on as if nothing had been: not one sample is lost or repeated."""
        self.playout.resume(self.config.ramp_ms)
        self.speech.resume()

    def silence(self) -> None:
        """Stop the mouth, flush playout, write down what was heard; at once and in one go."""
        wanted_epoch = self.speech.silence()
        self.output.cut(wanted_epoch, fade_ms=self.config.ramp_ms)
        self.speech.release()
        self.reply.drop()
