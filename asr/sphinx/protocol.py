"""What passes between Parley and its pocketsphinx process: frames over pipes, each for one stream."""

import struct
from enum import IntEnum

FRAME = struct.Struct("<IBI")  # stream, kind, bytes that follow

# The first frame in belongs to stream 0 and holds the settings; the answer to it is READY or FAILED.
SETUP_STREAM = 0


class WorkerRequest(IntEnum):
    """Frames to the process."""

    SETUP = 0  # JSON {"sentences", "folder", "comfort_noise_dbfs"}
    OPEN = 1
    AUDIO = 2  # 16-bit samples, 16 kHz mono
    FLUSH = 3
    CLOSE = 4


class WorkerAnswer(IntEnum):
    """Frames from the process."""

    READY = 0
    FAILED = 1  # the reason, in words
    TRANSCRIPT = 2  # JSON {"text", "is_final", "start", "end", "words": [[text, start, end]], "confidence"}, in samples
