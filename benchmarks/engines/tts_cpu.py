"""What each part of a speech frame costs on a CPU: parts, batches, a plain loop, and two ways to stream the codec.

A middle-sized random model in float32 on one thread; the ratios carry over, the milliseconds do not.

    python -m benchmarks.engines.tts_cpu [--quick]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.engines.speech_models import MIDDLE, TINY, VOICE, random_model
from tts.voxtral.codec import CodecDecoder
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import SpeechSlots, Start

TEXT_IDS = range(100, 130)  # about 120 characters
CONTEXT_FRAMES = 25  # that the reference server decodes again with every chunk
CHUNKS = (1, 5, 25)
BATCHES = (1, 2, 4, 8, 16)
FRAME_MS = 80.0


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """The median time of one call, after one that does not count."""
    work()
    times: list[float] = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        work()
        times.append((time.perf_counter() - started_s) * 1000)
    return report.percentile(times, 50)


class Frames:
    """Utterances that are being spoken together, and the parts of their frame step."""

    def __init__(self, model: VoxtralTTS, count: int) -> None:
        self.slots = SpeechSlots(model, count=count, pages=32 * count)
        self.slots.start([Start(slot, VOICE, TEXT_IDS, seed=slot) for slot in range(count)])
        self.everyone = list(range(count))
        self.batch = FrameBatch(self.slots, count)

    def select(self) -> None:
        for slot in self.everyone:
            self.slots.reserve(slot)
        self.batch.select(self.everyone)

    def euler(self) -> None:
        for step in range(self.slots.model.config.flow.euler_steps):
            self.batch.euler(step)

    def decode(self) -> None:
        self.batch.commit(self.everyone)
        self.batch.decode()

    def step(self) -> dict[str, float]:
        """One step; milliseconds of each part and of the whole."""
        times_ms: dict[str, float] = {}
        started_s = time.perf_counter()
        for name, part in (
            ("select", self.select), ("begin", self.batch.begin), ("euler", self.euler), ("codec", self.decode),
            ("backbone", self.batch.advance),
        ):  # fmt: skip
            part_started_s = time.perf_counter()
            part()
            times_ms[name] = (time.perf_counter() - part_started_s) * 1000
        return {**times_ms, "step": (time.perf_counter() - started_s) * 1000}


def frame_steps(model: VoxtralTTS, repeats: int) -> list[dict[str, Any]]:
    """Medians of the step's parts at each batch size, and of as many utterances in a plain loop, each on its own.

    A step and a plain loop take turns, so that what else the machine does weighs on both.
    """
    rows: list[dict[str, Any]] = []
    for count in BATCHES:
        together, alone = Frames(model, count), [Frames(model, 1) for _ in range(count)]
        steps: list[dict[str, float]] = []
        for _ in range(1 + repeats):
            plain_ms = sum(frames.step()["step"] for frames in alone)
            steps.append({**together.step(), "plain": plain_ms})
        medians = {part: report.percentile([step[part] for step in steps[1:]], 50) for part in steps[0]}
        rows.append({"batch": count, **medians, "frames_per_s": count * 1000 / medians["step"]})
    return rows


def first_frame(model: VoxtralTTS, repeats: int) -> dict[str, float]:
    """From a text to its first frame, with the voice's part of the prompt to be read, and with it shared."""

    def speak(slots: SpeechSlots) -> None:
        slots.start([Start(0, VOICE, TEXT_IDS, seed=0)])
        frames = FrameBatch(slots, 1)
        frames.select([0])
        frames.begin()
        for step in range(model.config.flow.euler_steps):
            frames.euler(step)
        frames.commit([0])
        frames.decode()
        slots.free(0)

    shared = SpeechSlots(model, count=1, pages=32)
    return {
        "whole_prompt": median_ms(lambda: speak(SpeechSlots(model, count=1, pages=32)), repeats),
        "shared_voice": median_ms(lambda: speak(shared), repeats),
    }


def codec_streaming(codec: CodecDecoder, codes: Tensor) -> list[dict[str, Any]]:
    """Milliseconds a frame of both ways to stream the same codes [T, K], and how far apart their samples are."""
    whole = codec.decode(codes)
    rows: list[dict[str, Any]] = []
    for chunk in CHUNKS:
        ways: dict[str, Tensor] = {}
        costs: dict[str, float] = {}
        for name, way in (("state", stream_with_state), ("window", decode_windows)):
            started_s = time.perf_counter()
            ways[name] = way(codec, codes, chunk)
            costs[name] = (time.perf_counter() - started_s) * 1000 / len(codes)
        errors = {f"{name}_error": float((samples - whole).abs().max()) for name, samples in ways.items()}
        rows.append({"chunk_frames": chunk, **costs, "ratio": costs["window"] / costs["state"], **errors})
    return rows


def stream_with_state(codec: CodecDecoder, codes: Tensor, chunk: int) -> Tensor:
    """Every frame decoded once."""
    state, slot = codec.start(1), torch.tensor([0])
    return torch.cat([codec.stream(part.unsqueeze(0), state, slot)[0] for part in codes.split(chunk)])


def decode_windows(codec: CodecDecoder, codes: Tensor, chunk: int) -> Tensor:
    """Every chunk decoded after up to 25 frames of context, whose samples are cut off."""
    parts: list[Tensor] = []
    for start in range(0, len(codes), chunk):
        context = min(start, CONTEXT_FRAMES)
        samples = codec.decode(codes[start - context : start + chunk])
        parts.append(samples[context * codec.config.frame_samples :])
    return torch.cat(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model and few repeats: seconds, no figures")
    is_quick: bool = parser.parse_args().quick
    torch.set_num_threads(1)
    repeats = 3 if is_quick else 15
    model = random_model(TINY if is_quick else MIDDLE, torch.device("cpu"), torch.float32)
    books = model.config.codebooks
    highest = torch.tensor([books.semantic] + [books.acoustic_levels] * books.acoustic)
    codes = (torch.rand(50 if is_quick else 150, books.count) * highest).long() + 2

    with torch.inference_mode():
        steps = frame_steps(model, repeats)
        first, codec = first_frame(model, repeats), codec_streaming(model.codec, codes)

    print("\nOne frame step, ms, and against as many plain steps in turn\n")
    header = ("batch", "begin", "Euler steps", "codec", "backbone", "step", "frames/s", "plain loop", "gain")
    print(report.table(header, [
        (str(row["batch"]), *(f"{row[part]:.1f}" for part in ("begin", "euler", "codec", "backbone", "step")),
         f"{row['frames_per_s']:.0f}", f"{row['plain']:.1f}", f"{row['plain'] / row['step']:.1f}x")
        for row in steps
    ]))  # fmt: skip
    print("\nFrom text to the first frame, ms\n")
    print(report.table(("prompt", "ms"), [
        ("read whole", f"{first['whole_prompt']:.1f}"), ("voice shared", f"{first['shared_voice']:.1f}")
    ]))  # fmt: skip
    print("\nThe codec, ms a frame: exact state, or windows with 25 frames of context decoded again\n")
    print(report.table(("chunk, frames", "first audio after, ms", "state", "windows", "ratio"), [
        (str(row["chunk_frames"]), f"{row['chunk_frames'] * FRAME_MS:.0f}", f"{row['state']:.2f}",
         f"{row['window']:.2f}", f"{row['ratio']:.1f}x")
        for row in codec
    ]))  # fmt: skip
    figures = {
        "threads": 1, "torch": torch.__version__, "model": "tiny" if is_quick else "middle",
        "frame_step_ms": steps, "first_frame_ms": first, "codec_ms_per_frame": codec,
    }  # fmt: skip
    print(f"\nwritten: {report.write('tts_cpu', figures, is_quick=is_quick)}")


if __name__ == "__main__":
    main()
