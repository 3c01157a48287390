"""The axis of time of Voxtral Realtime. A step is 80 ms of one stream: 1280 samples, one position, one token."""

from asr.interface import SAMPLE_RATE_HZ

STEP_MS = 80
STEP_SAMPLES = SAMPLE_RATE_HZ * STEP_MS // 1000

WINDOW_SAMPLES = 400  # of one mel frame
HOP_SAMPLES = 160
LOOK_BACK_SAMPLES = WINDOW_SAMPLES // 2  # that a step hears before its 80 ms
LOOK_AHEAD_SAMPLES = WINDOW_SAMPLES // 2 - HOP_SAMPLES  # and after them
KEPT_SAMPLES = LOOK_BACK_SAMPLES + LOOK_AHEAD_SAMPLES  # that two steps share

LEFT_PAD = 32  # positions of silence before the audio, which serve the attention as sinks
START = LEFT_PAD - 1  # positions that hear nothing of the audio and so are the same for every stream
EXTRA_PAD = 10  # steps of silence after the delay has drained: room for a long last word
MAX_DELAY = 30  # steps, the longest delay in training (arXiv 2602.11298)


def steps_of(delay_ms: int) -> int:
    """A delay in steps.

    Raises:
        ValueError: not one of the delays that the model knows.
    """
    if delay_ms % STEP_MS or not 1 <= delay_ms // STEP_MS <= MAX_DELAY:
        raise ValueError(
            f"a delay of {delay_ms} ms is not known: choose a multiple of {STEP_MS} up to {MAX_DELAY * STEP_MS}"
        )
    return delay_ms // STEP_MS
