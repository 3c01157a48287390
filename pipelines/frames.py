"""The Pipecat frames that are ours. All else travels as Pipecat's own, so that its observers understand a call."""

from dataclasses import dataclass, field

from pipecat.frames.frames import ControlFrame, InputAudioRawFrame, SystemFrame, TTSAudioRawFrame

from asr.interface import Transcript
from pipelines.turn_taking.inputs import Window


@dataclass
class CallerAudioFrame(InputAudioRawFrame):
    """20 ms of the caller's voice, 16 kHz mono PCM16, and where it ends in the call's microphone stream."""

    end_samples: int = 0


@dataclass
class VadWindowFrame(SystemFrame):
    """What voice detection knows of one window (32 ms)."""

    window: Window = field(default_factory=lambda: Window(0))


@dataclass
class TranscriptFrame(SystemFrame):
    """What recognition knows. A system frame: it keeps its order among voice frames and overtakes nothing."""

    transcript: Transcript = field(
        default_factory=lambda: Transcript("", is_final=False, start_samples=0, end_samples=0)
    )


@dataclass
class SpokenAudioFrame(TTSAudioRawFrame):
    """Speech and the text that it completes. Playout drops it if its epoch has been cut."""

    text: str = ""
    epoch: int = 0


@dataclass
class EndCallFrame(ControlFrame):
    """Hang up once everything before this has been heard."""
