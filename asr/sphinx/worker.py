"""pocketsphinx in a process of its own: it holds Python's lock while it decodes, and an event loop must not wait.

Run as `python -m asr.sphinx.worker`; frames of `asr.sphinx.protocol` on stdin and stdout. Ends when its stdin does.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr.sphinx.decoder import DecoderPool, write_model
from asr.sphinx.decoding import DecodingStream, Publish, comfort_noise
from asr.sphinx.protocol import FRAME, SETUP_STREAM, WorkerAnswer, WorkerRequest


class Worker:
    """Serves many streams from one pipe, in the order in which their frames come."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = answers
        self._streams: dict[int, DecodingStream] = {}

    def run(self) -> None:
        """Set up, then serve until the pipe ends."""
        if (setup := self._read()) is None:
            return
        settings = json.loads(setup[2])
        try:
            write_model(settings["sentences"], Path(settings["folder"]))
            pool = DecoderPool(Path(settings["folder"]))
        except (OSError, ValueError, RuntimeError) as error:
            self._answer(SETUP_STREAM, WorkerAnswer.FAILED, str(error).encode())
            return
        noise = comfort_noise(settings["comfort_noise_dbfs"])
        self._answer(SETUP_STREAM, WorkerAnswer.READY)
        while (frame := self._read()) is not None:
            identifier, kind, payload = frame
            if kind == WorkerRequest.OPEN:
                self._streams[identifier] = DecodingStream(pool, noise, self._publisher(identifier))
            elif kind == WorkerRequest.AUDIO:
                self._streams[identifier].push(np.frombuffer(payload, np.int16))
            elif kind == WorkerRequest.FLUSH:
                self._streams[identifier].flush()
            elif kind == WorkerRequest.CLOSE:
                self._streams.pop(identifier).close()

    def _read(self) -> tuple[int, int, bytes] | None:
        head = self._requests.read(FRAME.size)
        if len(head) < FRAME.size:
            return None
        stream, kind, size = FRAME.unpack(head)
        payload = self._requests.read(size)
        return (stream, kind, payload) if len(payload) == size else None

    def _publisher(self, stream: int) -> Publish:
        return lambda transcript: self._answer(stream, WorkerAnswer.TRANSCRIPT, json.dumps(transcript).encode())

    def _answer(self, stream: int, kind: WorkerAnswer, payload: bytes = b"") -> None:
        self._answers.write(FRAME.pack(stream, kind, len(payload)) + payload)
        self._answers.flush()


def main() -> None:
    """Serve on the process's own pipes."""
    # pocketsphinx may print: its standard output becomes our standard error, the pipe is ours alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with suppress(BrokenPipeError):  # the parent is gone
        Worker(sys.stdin.buffer, answers).run()


if __name__ == "__main__":
    main()
