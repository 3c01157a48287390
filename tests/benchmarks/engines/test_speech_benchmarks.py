"""The speech benchmarks: the floor is that of the model, both codec ways agree, and every level runs to its end."""

import torch
from pytest import approx

from asr.config import VoxtralRealtimeConfig
from benchmarks.engines import gpu, gpu_asr, tts_cpu
from benchmarks.engines.roofline import H200
from benchmarks.engines.speech_listeners import ListeningStats, listen, play, speaker
from benchmarks.engines.speech_models import RELEASED, TINY, codec_uses, frame_floor_ms, random_model
from tts.voxtral.euler import Schedule
from tts.voxtral.model import VoxtralConfig, VoxtralTTS

CPU = torch.device("cpu")


def released() -> VoxtralTTS:
    model = VoxtralTTS(VoxtralConfig.from_params(RELEASED), None, torch.device("meta"), torch.bfloat16)
    model.schedule = Schedule((0.0,) * 8, torch.zeros(8, 1, dtype=torch.bfloat16))
    return model


def test_the_floor_is_that_of_the_released_model() -> None:
    """By hand for one H200: 6.05 GB + 7 x 0.70 GB + 0.30 GB of weights at 4.3 TB/s, 53 MB of cache at 500 tokens."""
    model = released()
    assert frame_floor_ms(H200, model, batch=1, context_tokens=0) == approx(2.61, abs=0.02)
    assert frame_floor_ms(H200, model, batch=1, context_tokens=500) == approx(2.63, abs=0.02)
    assert 2 * codec_uses(model.codec) == approx(1.10e9, rel=0.01)
    assert sum(parameter.numel() for parameter in model.parameters()) == approx(4.002e9, rel=1e-3)


def test_the_acoustic_head_sets_the_floor_of_large_batches() -> None:
    model = released()
    small, large = (frame_floor_ms(H200, model, batch, context_tokens=0) for batch in (128, 256))
    assert large / small == approx(2, rel=0.2)


def test_windows_with_context_give_the_samples_of_exact_state() -> None:
    model = random_model(TINY, CPU, torch.float32)
    books = model.config.codebooks
    codes = torch.randint(2, books.acoustic_levels, (60, books.count))
    for row in tts_cpu.codec_streaming(model.codec, codes):
        assert row["state_error"] < 1e-4
        assert row["window_error"] < 1e-4


async def test_listeners_take_all_and_players_play_in_time() -> None:
    heard = ListeningStats()
    async with speaker(random_model(TINY, CPU, torch.float32), slots=2) as engine:
        await listen(engine, characters=10, heard=heard)
        await play(engine, characters=10, heard=heard, cut_after_s=float("inf"))
        assert (heard.cancelled, len(heard.first_audio_ms), heard.characters) == (0, 2, 10)
        assert heard.samples == round(10 / gpu.CHARACTERS_PER_S * 12.5) * 1920
        await play(engine, characters=30, heard=heard, cut_after_s=0.1)
        assert heard.cancelled == 1
        assert engine.stepper.counters.frames < 8 + 8 + 25


async def test_every_level_is_measured() -> None:
    plan = gpu.SpeechPlan(closed=(1, 2), open=(2,), rounds=1, characters=10, turn_characters=5, open_s=0.5)
    figures = await gpu.measure(plan, random_model(TINY, CPU, torch.float32), CPU)
    assert [row["listeners"] for row in figures["closed_loop"]] == [1, 2]
    assert all(row["frames"] and row["share_of_floor"] > 0 for row in figures["closed_loop"])
    assert figures["open_loop"][0]["first_audio_p95_ms"] > 0


def test_recognition_is_measured_with_the_settings_of_calls() -> None:
    fields = VoxtralRealtimeConfig.model_fields
    assert {name: fields[name].default for name in gpu_asr.SETTINGS} | {"stall_timeout_s": 60.0} == gpu_asr.SETTINGS
