"""eSpeak NG alone in a process: clauses in on stdin, samples and word times out on stdout.

eSpeak NG is GPL-3, so its library is loaded here, never in Parley's own process. Runs by path with nothing but
the standard library: `python espeak_child.py LIBRARY [DATA_FOLDER]`. Ends when its stdin does.

Request: u32 size, then JSON {"id", "voice", "words_per_minute", "text"}. Reply: `REPLY` (id, status, number of word
marks, bytes that follow); the body is the marks (`MARK`: character position from 0, sample position) and 16-bit mono
samples, or the error's text. The first reply has id 0 and no request: its body is the sample rate in decimal.
"""

import ctypes
import json
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

REQUEST_SIZE = struct.Struct("<I")
REPLY = struct.Struct("<IIII")
MARK = struct.Struct("<II")
OK, FAILED = 0, 1

# Names and values of speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
EVENT_END_OF_LIST, EVENT_WORD = 0, 1
PARAMETER_RATE = 1
POSITION_CHARACTER = 1
CHARACTERS_UTF8 = 1
EE_OK = 0


class _Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class EspeakSpeaker:
    """The library, initialized once; `speak` renders one clause at a time."""

    def __init__(self, library: str, data_folder: str | None) -> None:
        self._library = ctypes.CDLL(library)
        self._samples = bytearray()
        self._marks = bytearray()
        self._callback = _CALLBACK(self._take)
        data = None
        if data_folder is not None:
            # A data path of 160 characters or more makes the library exit: it is named relative to where it lies.
            os.chdir(Path(data_folder).parent)
            data = b"."
        self.sample_rate_hz = int(
            self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, INITIALIZE_DONT_EXIT)
        )
        if self.sample_rate_hz <= 0:
            raise RuntimeError(f"eSpeak NG found no voices in {data_folder or 'its default folder'}")
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: int | None, count: int, events: Any) -> int:
        if samples is not None and count > 0:
            self._samples += ctypes.string_at(samples, count * 2)
        index = 0
        while events[index].type != EVENT_END_OF_LIST:
            event: _Event = events[index]
            if event.type == EVENT_WORD:
                self._marks += MARK.pack(max(event.text_position - 1, 0), max(event.sample, 0))
            index += 1
        return 0

    def speak(self, text: str, voice: str, words_per_minute: int) -> tuple[bytes, bytes]:
        """The marks and the samples of one clause.

        Raises:
            RuntimeError: the library has no such voice, or refused the text.
        """
        self._samples.clear()
        self._marks.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != EE_OK:
            raise RuntimeError(f"eSpeak NG has no voice {voice!r}")
        self._library.espeak_SetParameter(PARAMETER_RATE, words_per_minute, 0)
        encoded = text.encode()
        status = self._library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, POSITION_CHARACTER, 0, CHARACTERS_UTF8, None, None
        )
        if status != EE_OK:
            raise RuntimeError(f"eSpeak NG refused the text (status {status})")
        return bytes(self._marks), bytes(self._samples)


def _reply(replies: BinaryIO, identifier: int, status: int, body: bytes, marks: bytes = b"") -> None:
    replies.write(REPLY.pack(identifier, status, len(marks) // MARK.size, len(marks) + len(body)) + marks + body)
    replies.flush()


def _answer(speaker: EspeakSpeaker, request: dict[str, Any], replies: BinaryIO) -> None:
    try:
        marks, samples = speaker.speak(request["text"], request["voice"], request["words_per_minute"])
    except RuntimeError as error:
        _reply(replies, request["id"], FAILED, str(error).encode())
    else:
        _reply(replies, request["id"], OK, samples, marks)


def serve(speaker: EspeakSpeaker, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests in turn until their stream ends.

    Each is rendered in a fork of the fresh library: it carries state from one clause to the next, and equal requests
    shall give equal samples. A crash on some text costs that clause only.
    """
    _reply(replies, 0, OK, str(speaker.sample_rate_hz).encode())
    while len(size := requests.read(REQUEST_SIZE.size)) == REQUEST_SIZE.size:
        request = json.loads(requests.read(REQUEST_SIZE.unpack(size)[0]))
        fork = os.fork()
        if fork == 0:
            _answer(speaker, request, replies)
            os._exit(0)
        _, status = os.waitpid(fork, 0)
        if status != 0:
            _reply(replies, request["id"], FAILED, b"eSpeak NG crashed on this text")


def main() -> int:
    """Serve on the process's own pipes; the exit status."""
    # The library may print: its standard output becomes our standard error, the pipe is ours alone.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        speaker = EspeakSpeaker(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    except (OSError, RuntimeError) as error:
        _reply(replies, 0, FAILED, str(error).encode())
        return 1
    with suppress(BrokenPipeError):  # the parent is gone
        serve(speaker, sys.stdin.buffer, replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
