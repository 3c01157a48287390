"""Remote recognizers for a test's server, and what is read from them."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from asr.config import MistralRealtimeConfig, VllmRealtimeConfig
from asr.interface import Recognition, Transcript
from asr.remote.engine import RemoteRecognizer
from asr.remote.mistral import MistralRealtime
from asr.remote.vllm import VllmRealtime
from tests.fakes import PATIENCE_S

STEP = 1280
KEY = SecretStr("sk-very-secret")
Make = Callable[..., RemoteRecognizer]


def vllm(server: Any, **settings: Any) -> RemoteRecognizer:
    config = VllmRealtimeConfig.model_validate({"base_url": server.url, "model": "m", **settings})
    return RemoteRecognizer(config, VllmRealtime(config), KEY)


def mistral(server: Any, **settings: Any) -> RemoteRecognizer:
    config = MistralRealtimeConfig.model_validate({"base_url": server.url, "model": "m", **settings})
    return RemoteRecognizer(config, MistralRealtime(config), KEY)


async def until_final(stream: Recognition) -> list[Transcript]:
    transcripts: list[Transcript] = []
    async with asyncio.timeout(PATIENCE_S):
        async for transcript in stream:
            transcripts.append(transcript)
            if transcript.is_final:
                break
    return transcripts


async def final_of(stream: Recognition) -> str:
    return (await until_final(stream))[-1].text


async def say(stream: Recognition, voice: NDArray[np.float32]) -> str:
    stream.push(voice)
    stream.flush()
    return await final_of(stream)


def kinds(server: Any) -> list[Any]:
    """The types of what the server received, runs of one type as one."""
    found = [(message["type"], message.get("final")) for message in server.received]
    return [kind for at, kind in enumerate(found) if at == 0 or found[at - 1] != kind]
