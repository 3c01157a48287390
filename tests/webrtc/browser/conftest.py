"""What the tests of signalling share: an owner of calls, and a good offer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes import PATIENCE_S
from tests.fakes.other_peer import offer_of, other_peer
from tests.fakes.owner import Owner
from webrtc.config import WebRTCConfig


@pytest.fixture
async def owner(config: WebRTCConfig) -> AsyncIterator[Owner]:
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        owner = Owner(config, group)
        yield owner
        for call in owner.calls:
            await call.close()


@pytest.fixture
async def offer() -> dict[str, str]:
    """The body of a good offer, from a caller that does not go on to connect."""
    async with other_peer("audio") as peer:
        found = await offer_of(peer)
    return {"sdp": found.sdp, "type": found.type}
