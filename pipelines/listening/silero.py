"""Silero VAD through one onnxruntime session for all calls of the process.

Pipecat's analyzer loads a session for every call (10 MB, 40 ms of blocked loop) and adds a loudness gate (80 to 165
ms); the model file is the same. Only the recurrent state belongs to a call.
"""

from functools import cache
from importlib.resources import files
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 512  # 32 ms
CONTEXT_SAMPLES = 64  # samples before the window that the model wants to see again

# Silero's state can stick after long music or silence; Pipecat's remedy: reset in clear non-speech, every 2 s of audio.
RESET_WINDOWS = 2 * SAMPLE_RATE_HZ // WINDOW_SAMPLES
QUIET_WINDOWS = 16
QUIET_PROBABILITY = 0.1

_RATE = np.array(SAMPLE_RATE_HZ, dtype=np.int64)


@cache
def silero_session() -> onnxruntime.InferenceSession:
    """The process's session; safe to run from several threads."""
    options = cast("Any", onnxruntime).SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    model = files("pipecat.audio.vad.data").joinpath("silero_vad.onnx")
    return onnxruntime.InferenceSession(model.read_bytes(), sess_options=options, providers=["CPUExecutionProvider"])


class SileroStream:
    """The model's state for one stream of audio."""

    def __init__(self) -> None:
        self._session: Any = silero_session()
        self._windows = 0
        self._quiet_windows = 0
        self._context = np.zeros((1, CONTEXT_SAMPLES), dtype=np.float32)
        self._reset()

    def _reset(self) -> None:
        self._state = np.zeros((2, 1, 128), dtype=np.float32)
        self._windows = 0

    def probability(self, window: NDArray[np.float32]) -> float:
        """Probability that the next 512 samples [512] hold speech; about 0.1 ms."""
        samples = np.concatenate((self._context, window[np.newaxis]), axis=1)
        inputs = {"input": samples, "state": self._state, "sr": _RATE}
        output, self._state = cast("tuple[NDArray[np.float32], NDArray[np.float32]]", self._session.run(None, inputs))
        self._context = samples[:, -CONTEXT_SAMPLES:]
        probability = float(output[0, 0])
        self._windows += 1
        self._quiet_windows = self._quiet_windows + 1 if probability < QUIET_PROBABILITY else 0
        if self._windows >= RESET_WINDOWS and self._quiet_windows >= QUIET_WINDOWS:
            self._reset()
        return probability
