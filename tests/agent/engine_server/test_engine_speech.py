"""/v1/audio/speech and /v1/audio/voices: formats, deliveries, dialects, errors, and clients that go away."""

import asyncio
import base64
import io
import json
import socket
import wave
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientPayloadError
from numpy.typing import NDArray
from yarl import URL

from tests.fakes import PATIENCE_S
from tts.interface import EngineBusy, EngineUnreachable, SynthesisError, TextRejected

SPEECH = "/v1/audio/speech"
EXPECTED = np.repeat([0.01, 0.02, 0.03], 1920).astype(np.float32)


async def post(served: Any, **body: Any) -> bytes:
    async with served.http.post(SPEECH, json={"input": "Hello.", **body}) as response:
        assert response.status == 200, await response.text()
        return await response.read()


def events(body: bytes) -> list[dict[str, Any]]:
    found = []
    for block in body.decode().strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def pcm16(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_767)


async def test_pcm_is_the_engines_samples(served: Any) -> None:
    np.testing.assert_allclose(pcm16(await post(served, response_format="pcm")), EXPECTED, atol=1e-4)


async def test_wav_without_a_stream_has_its_length(served: Any) -> None:
    with wave.open(io.BytesIO(await post(served))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.getnframes() == len(EXPECTED)


async def test_wav_in_a_stream_has_a_header_of_unknown_length(served: Any) -> None:
    body = await post(served, stream_format="audio", response_format="wav")
    assert (body[:4], body[4:8], body[40:44]) == (b"RIFF", b"\xff" * 4, b"\xff" * 4)
    np.testing.assert_allclose(pcm16(body[44:]), EXPECTED, atol=1e-4)


async def test_events_carry_the_audio_and_end_with_done(served: Any) -> None:
    *deltas, done = events(await post(served, stream=True, response_format="pcm"))
    audio = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    assert len(deltas) == 3
    assert {delta["response_format"] for delta in deltas} == {"pcm"}
    np.testing.assert_allclose(pcm16(audio), EXPECTED, atol=1e-4)
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 0, "output_tokens": 3, "total_tokens": 3},
    }


async def test_mistrals_dialect_has_floats_and_other_names(served: Any) -> None:
    body = {"voice_id": "Ann", "response_format": "pcm"}
    whole = json.loads(await post(served, **body))
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(whole["audio_data"]), "<f4"), EXPECTED)
    *deltas, done = events(await post(served, **body, stream=True))
    audio = b"".join(base64.b64decode(delta["audio_data"]) for delta in deltas)
    np.testing.assert_array_equal(np.frombuffer(audio, "<f4"), EXPECTED)
    assert done["usage"]["completion_tokens"] == 3


async def test_another_rate_keeps_the_length(served: Any) -> None:
    served.synthesizer.sample_rate_hz = 22_050
    audio = pcm16(await post(served, response_format="pcm"))
    assert len(audio) == pytest.approx(len(EXPECTED) * 24_000 / 22_050, abs=2)
    assert np.median(audio) == pytest.approx(0.02, abs=1e-3)
    narrow = pcm16(await post(served, response_format="pcm", sample_rate=8000))
    assert len(narrow) == pytest.approx(len(EXPECTED) * 8_000 / 22_050, abs=2)


async def test_voices_are_found_as_every_dialect_names_them(served: Any) -> None:
    for body, voice, language in [
        ({}, "Ann", "en"),
        ({"voice": "bea"}, "Bea", "pt"),
        ({"voice": {"id": "Bea"}}, "Bea", "pt"),
        ({"speaker": "Bea", "language": "es"}, "Bea", "es"),
        ({"language": "pt"}, "Bea", "pt"),
        ({"voice_id": "Ann", "response_format": "pcm"}, "Ann", "en"),
    ]:
        await post(served, **body)
        utterance = served.synthesizer.utterances[-1]
        assert (utterance.text, utterance.voice, utterance.language) == ("Hello.", voice, language)


async def test_what_cannot_be_done_is_refused(served: Any) -> None:
    for body, status, param in [
        ({"input": 3}, 400, "input"),
        ({"voice": "zoe"}, 400, None),
        ({"language": "xx"}, 400, "language"),
        ({"response_format": "mp3"}, 400, "response_format"),
        ({"speed": 1.5}, 400, "speed"),
        ({"ref_audio": "UklGRg=="}, 400, "ref_audio"),
        ({"model": "gpt-4o-mini-tts"}, 404, "model"),
        ({"voice_id": "Ann"}, 400, None),  # Mistral's default is mp3
    ]:
        async with served.http.post(SPEECH, json={"input": "Hello.", **body}) as response:
            error = (await response.json())["error"]
            assert response.status == status
        assert error["type"] == "invalid_request_error"
        assert error["param"] == param
        assert error["message"]


async def test_errors_of_the_engine_have_a_status(served: Any) -> None:
    for refusal, status, code in [
        (EngineBusy("all slots are taken"), 503, "engine_busy"),
        (EngineUnreachable("it has ended"), 500, "engine_failed"),
        (TextRejected("too long"), 400, "text_rejected"),
    ]:
        served.synthesizer.refusal = refusal
        async with served.http.post(SPEECH, json={"input": "Hello.", "stream": True}) as response:
            assert response.status == status
            assert ("Retry-After" in response.headers) == (status == 503)
            error = (await response.json())["error"]
        assert (error["code"], error["message"]) == (code, str(refusal))


async def test_a_failure_in_mid_sentence_is_an_event(served: Any) -> None:
    served.synthesizer.fails_after, served.synthesizer.failure = 2, SynthesisError("out of breath")
    *deltas, error = events(await post(served, stream=True))
    assert len(deltas) == 2
    assert error["type"] == "speech.audio.error"
    assert error["error"]["message"] == "out of breath"


async def test_a_failure_in_mid_sentence_breaks_raw_bytes_off(served: Any) -> None:
    served.synthesizer.fails_after, served.synthesizer.failure = 2, SynthesisError("out of breath")
    with pytest.raises(ClientPayloadError):
        await post(served, response_format="pcm")


async def test_a_client_that_leaves_cancels_its_utterance(served: Any) -> None:
    served.synthesizer.chunks = None
    async with served.http.post(SPEECH, json={"input": "Hello.", "response_format": "pcm"}) as response:
        await response.content.readexactly(3840)
        response.close()
    (utterance,) = served.synthesizer.utterances
    await asyncio.wait_for(utterance.left.wait(), PATIENCE_S)


async def test_a_client_that_leaves_before_the_first_chunk_cancels_it_too(served: Any) -> None:
    served.synthesizer.gate.clear()
    client = asyncio.create_task(post(served, response_format="pcm"))
    await asyncio.wait_for(served.synthesizer.arrived.wait(), PATIENCE_S)
    client.cancel()
    (utterance,) = served.synthesizer.utterances
    await asyncio.wait_for(utterance.left.wait(), PATIENCE_S)
    assert utterance.delivered == 0


async def test_a_client_that_takes_nothing_holds_the_engine_and_is_dropped(serve: Any) -> None:
    body = json.dumps({"input": "Hello.", "response_format": "pcm"}).encode()
    head = f"POST {SPEECH} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with serve(write_timeout_s=0.3) as served:
        served.synthesizer.chunks = None
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.connect(("127.0.0.1", URL(served.url).port))
            client.sendall(head + body)
            await asyncio.wait_for(served.synthesizer.arrived.wait(), PATIENCE_S)
            (utterance,) = served.synthesizer.utterances
            await asyncio.wait_for(utterance.left.wait(), PATIENCE_S)
    assert utterance.delivered * 80 < 4000  # ms, in all buffers together; without a bound it is a minute and a half


async def test_utterances_at_once_do_not_mix(served: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        posts = [tasks.create_task(post(served, response_format="pcm", sample_rate=24_000)) for _ in range(8)]
    assert {task.result() for task in posts} == {posts[0].result()}
    assert len(served.synthesizer.utterances) == 8


async def test_voices_for_every_dialect(served: Any) -> None:
    async with served.http.get("/v1/audio/voices") as response:
        listed = await response.json()
    assert listed["voices"] == ["Ann", "Bea"]
    assert [(item["id"], item["languages"]) for item in listed["items"]] == [("Ann", ["en"]), ("Bea", ["pt"])]
    assert listed["total"] == 2
