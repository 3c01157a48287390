"""What the scripted callers say, as 48 kHz mono samples: sentences, words that interrupt, back-channels and coughs."""

import functools
import io
import subprocess
import sys
import wave

import numpy as np
from numpy.typing import NDArray

from benchmarks.far_end import espeak_caller
from tts.espeak.process import find_espeak

SAMPLE_RATE_HZ = 48_000
TIMEOUT_S = 60.0  # of making a sentence, some 0.1 s on an idle machine
SPEECH_PEAK = 0.35  # about -20 dBFS: a caller close to a headset
QUESTIONS = (
    "what is twelve times seven",
    "who are you",
    "spell the word lantern",
    "what can you do",
    "count to five",
)
STORY = "tell me a story"
INTERRUPTIONS = ("stop", "wait a moment please", "no stop", "hold on", "stop please")
# eSpeak phonemes and pitch; a hum with a glottal break is what people really do, "mm-hmm" read out is not.
BACKCHANNELS = (("[[m'Vhm]]", 35), ("[[mmh'm]]", 50), ("[[m'h@m]]", 70))


@functools.cache
def sentence(text: str, voice: str = "en-us", pitch: int = 50) -> NDArray[np.float32]:
    """`text` spoken by a voice that is not the agent's, without silence around it."""
    library, data_folder = find_espeak()
    command = [sys.executable, espeak_caller.__file__, voice, str(pitch), text, library]
    if data_folder is not None:
        command.append(data_folder)
    run = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_S)
    with wave.open(io.BytesIO(run.stdout)) as file:
        pcm16 = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return _normalize_peak(_trim(_resample(pcm16 / 32768, file.getframerate())))


def question(number: int) -> NDArray[np.float32]:
    """One of the questions, in turn."""
    return sentence(QUESTIONS[number % len(QUESTIONS)])


def interruption(number: int) -> NDArray[np.float32]:
    """One of the ways to say stop, in turn."""
    return sentence(INTERRUPTIONS[number % len(INTERRUPTIONS)])


def backchannel(number: int) -> NDArray[np.float32]:
    """A short "mhm", in turn in several ways."""
    phonemes, pitch = BACKCHANNELS[number % len(BACKCHANNELS)]
    return sentence(phonemes, pitch=pitch)


def cough(number: int, *, is_voiced: bool) -> NDArray[np.float32]:
    """A cough: a burst of some 50 ms as the throat opens, noise that dies away, and often a voiced end.

    The phases and their lengths are those of Korpas, Sadlonova and Vrabec, "Analysis of the cough sound: an overview"
    (1996). Silero takes the voiced ones for speech and hardly ever the others.
    """
    rng = np.random.default_rng(number)
    burst_s, middle_s, voiced_s = rng.uniform(0.04, 0.06), rng.uniform(0.10, 0.15), rng.uniform(0.10, 0.16)
    time_s = np.arange(round((burst_s + middle_s + voiced_s) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    since_burst_s = np.maximum(time_s - burst_s, 0.0)
    burst = np.minimum(time_s / 0.004, 1.0) * np.exp(-np.maximum(time_s - 0.01, 0.0) / (burst_s / 2))
    middle = 0.4 * np.minimum(time_s / burst_s, 1.0) * np.exp(-since_burst_s / middle_s)
    breath = rng.standard_normal(len(time_s)) * (burst + middle)
    voice = np.zeros_like(time_s)
    if is_voiced:
        swell = np.minimum(since_burst_s / 0.03, 1.0) * np.minimum((time_s[-1] - time_s) / 0.06, 1.0)
        voice = _rough_voice(time_s, rng.uniform(180, 260), rng) * swell
    fade = np.minimum(1.0, (time_s[-1] - time_s) / 0.01)
    return _normalize_peak(_throat(breath + voice, rng) * fade)


def _rough_voice(time_s: NDArray[np.float64], pitch_hz: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Glottal pulses whose pitch falls by a third and trembles: the vocal folds at the end of a cough."""
    glide = pitch_hz * (1 - 0.33 * time_s / time_s[-1]) * (1 + 0.06 * rng.standard_normal(len(time_s)))
    phase = np.cumsum(glide) / SAMPLE_RATE_HZ
    return 12 * ((1 - phase % 1.0) ** 3 - 0.25)


def _throat(source: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A source through a vocal tract: 500 to 3000 Hz with resonances near 650, 1300 and 2500 Hz."""
    spectrum = np.fft.rfft(source)
    frequency_hz = np.fft.rfftfreq(len(source), 1 / SAMPLE_RATE_HZ)
    response = 0.15 / (1 + (400 / np.maximum(frequency_hz, 1.0)) ** 4) / (1 + (frequency_hz / 3000) ** 4)
    for center_hz, width_hz in ((650, 130), (1300, 200), (2500, 350)):
        response += np.exp(-0.5 * ((frequency_hz - center_hz * rng.uniform(0.9, 1.1)) / width_hz) ** 2)
    return np.fft.irfft(spectrum * response, len(source))


def _resample(samples: NDArray[np.float64], rate_hz: int) -> NDArray[np.float64]:
    """All samples at once to 48 kHz, by padding their spectrum with zeros."""
    count = round(len(samples) * SAMPLE_RATE_HZ / rate_hz)
    spectrum = np.zeros(count // 2 + 1, np.complex128)
    low = np.fft.rfft(samples)
    spectrum[: len(low)] = low
    return np.fft.irfft(spectrum, count) * (count / len(samples))


def _trim(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    audible = np.flatnonzero(np.abs(samples) >= 0.01)
    return samples[audible[0] : audible[-1] + 1]


def _normalize_peak(samples: NDArray[np.float64]) -> NDArray[np.float32]:
    return (samples * (SPEECH_PEAK / float(np.max(np.abs(samples))))).astype(np.float32)
