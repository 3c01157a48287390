"""The call in memory, in virtual time: exact to the sample, and a minute passes at once."""

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from tests.fakes.call import MemoryCall, MemoryCaller


def test_every_sample_arrives_unchanged_and_when_it_is_due(
    in_virtual_time: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    async def scenario() -> None:
        spoken = np.random.default_rng(0).uniform(-1, 1, 24_000).astype(np.float32)
        async with MemoryCall() as call, MemoryCaller(call) as caller:
            first = await call.playout.wait_advanced()
            assert first == 0
            call.playout.write(spoken)
            for _ in range(3_000):  # a minute
                await call.playout.wait_advanced()
                await anext(call.microphone)
            np.testing.assert_array_equal(caller.heard()[480 : 480 + spoken.size], spoken)
            assert not caller.heard()[480 + spoken.size :].any()
            assert call.stats.lost_packets == call.stats.stalls == 0

    in_virtual_time(scenario())
