"""The chain of one call on engines that take no time: Parley's, or the stock one.

GET /moments lists when the engines did what measurements count from, in CLOCK_MONOTONIC seconds.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict

from aiohttp import web
from loguru import logger

from agent.serving.metrics import Metrics
from benchmarks.baseline import stock_bot
from benchmarks.call.fake_engines import FINAL_DELAY_S, LateRecognizer, Moments, PacedModel, ToneSynthesizer
from pipelines.call import Engines, prepare, run_call
from pipelines.config import AgentConfig, CallConfig
from pipelines.turn_taking.config import TurnTakingConfig
from webrtc.browser.signalling import Signalling
from webrtc.config import SignallingConfig, WebRTCConfig
from webrtc.interface import Call

HOST = "127.0.0.1"
REPLY = "A tone."


async def serve(engines: Engines, config: CallConfig, routes: Sequence[web.RouteDef]) -> None:
    """Answer offers with Parley's chain on a free port until cancelled."""
    prepare(config)
    metrics = Metrics()

    async def hold(call: Call) -> None:
        async with call:
            await run_call(call, engines, AgentConfig(greeting=""), config, tools=(), sinks=[metrics])

    async with asyncio.TaskGroup() as calls:
        transport = WebRTCConfig(loopback=True, signalling=SignallingConfig(offers_per_minute=10_000))
        signalling = Signalling(
            transport, accept=lambda call: _ignore(calls.create_task(hold(call))), admit=lambda: None
        )
        app = web.Application()
        app.router.add_routes([*signalling.routes(), *routes])
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, 0).start()
            print(f"Fakes are listening on http://{HOST}:{runner.addresses[0][1]}", flush=True)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _ignore(_: object) -> None:
    """The task group owns the task."""


def main() -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chain", choices=("parley", "stock"), default="parley")
    parser.add_argument("--reply", default=REPLY, help="what the model says")
    parser.add_argument("--tokens-per-s", type=float, help="its pace; all at once if not given")
    parser.add_argument("--first-token-s", type=float, default=0.0, help="how long it thinks")
    parser.add_argument("--final-delay-s", type=float, default=FINAL_DELAY_S, help="from a flush to its transcript")
    parser.add_argument("--draft", action=argparse.BooleanOptionalAction, default=True, help="at the first pause")
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    moments = Moments()

    async def list_moments(_: web.Request) -> web.Response:
        return web.json_response(asdict(moments))

    model = PacedModel(arguments.reply, arguments.first_token_s, arguments.tokens_per_s, moments)
    engines = Engines(LateRecognizer(arguments.final_delay_s, moments), ToneSynthesizer(), model)
    config = CallConfig(turn_taking=TurnTakingConfig(draft_reply=arguments.draft))
    routes = [web.get("/moments", list_moments)]
    with contextlib.suppress(KeyboardInterrupt):
        if arguments.chain == "stock":
            asyncio.run(stock_bot.serve(engines, HOST, 0, loopback=True, routes=routes))
        else:
            asyncio.run(serve(engines, config, routes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
