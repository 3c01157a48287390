"""One text in a caller's voice: `python espeak_caller.py VOICE PITCH TEXT LIBRARY [DATA_FOLDER]` writes a WAV file.

It goes to stdout. eSpeak NG alone in a process, as in the product; unlike an agent, a caller has a pitch of its own
and says phonemes ("[[m'Vhm]]"), as with the `espeak-ng` program.
"""

import ctypes
import io
import sys
import wave

from tts.espeak.child import CHARACTERS_UTF8, EE_OK, PARAMETER_RATE, POSITION_CHARACTER, EspeakSpeaker

WORDS_PER_MINUTE = 150

# Names and values of speak_lib.h.
PARAMETER_PITCH = 3
PHONEMES = 0x100


class CallerSpeaker(EspeakSpeaker):
    """The library, speaking as a caller."""

    def say(self, text: str, voice: str, pitch: int) -> bytes:
        """The 16-bit mono samples of a text.

        Raises:
            RuntimeError: the library has no such voice, or refused the text.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != EE_OK:
            raise RuntimeError(f"eSpeak NG has no voice {voice!r}")
        self._library.espeak_SetParameter(PARAMETER_RATE, WORDS_PER_MINUTE, 0)
        self._library.espeak_SetParameter(PARAMETER_PITCH, pitch, 0)
        encoded, flags = text.encode(), CHARACTERS_UTF8 | PHONEMES
        size = ctypes.c_size_t(len(encoded) + 1)
        status = self._library.espeak_Synth(encoded, size, 0, POSITION_CHARACTER, 0, flags, None, None)
        if status != EE_OK:
            raise RuntimeError(f"eSpeak NG refused the text (status {status})")
        return bytes(self._samples)


def main(voice: str, pitch: str, text: str, library: str, data_folder: str | None = None) -> None:
    """Speak the text."""
    speaker = CallerSpeaker(library, data_folder)
    whole = io.BytesIO()
    with wave.open(whole, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speaker.sample_rate_hz)
        file.writeframes(speaker.say(text, voice, int(pitch)))
    sys.stdout.buffer.write(whole.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
