"""What drafting the reply at the first pause gains: from the end of a question to the reply's first packet at the peer.

The recognizer takes FINAL_DELAY_S after the pause, the model thinks for a while before its first token, as one over a
network does; all else takes no time. Two servers of Parley's chain, with drafts and without, run side by side and are
called in turn. Run it as `python -m benchmarks.call.draft`; it prints a table and writes benchmarks/results/draft.json.
"""

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack

from benchmarks import report
from benchmarks.call.overhead import first_packets
from benchmarks.far_end.servers import fakes

TURNS_PER_CALL = 5
FINAL_DELAY_S = 0.03
FIRST_TOKENS_S = (0.1, 0.2, 0.4)
CHAINS = {"draft": "--draft", "no draft": "--no-draft"}


async def measure(first_token_s: float, calls: int) -> dict[str, list[float]]:
    """The latencies of the turns with drafts and without, in s."""
    options = ["--first-token-s", str(first_token_s), "--final-delay-s", str(FINAL_DELAY_S)]
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(fakes(option, *options)) for name, option in CHAINS.items()}
        latencies: dict[str, list[float]] = {name: [] for name in CHAINS}
        for _ in range(calls):
            for name, server in servers.items():
                latencies[name] += await first_packets(server, TURNS_PER_CALL, since="speech_ends", tones=1)
        return latencies


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4, help=f"with each chain; {TURNS_PER_CALL} turns each")
    parser.add_argument("--quick", action="store_true", help="one call")
    arguments = parser.parse_args()
    calls = 1 if arguments.quick else arguments.calls
    figures = {
        f"{first_token_s * 1000:.0f}": {
            name: report.summary(values) for name, values in asyncio.run(measure(first_token_s, calls)).items()
        }
        for first_token_s in FIRST_TOKENS_S
    }
    rows = [
        [think_ms, *(f"{row[name]['p50'] * 1000:.0f} / {row[name]['p90'] * 1000:.0f}" for name in CHAINS)]
        for think_ms, row in figures.items()
    ]
    print(report.table(["the model thinks, ms", *(f"{name}, p50 / p90 in ms" for name in CHAINS)], rows))
    record = {"calls": calls, "final_delay_s": FINAL_DELAY_S, "end_of_speech_to_first_packet_s": figures}
    print(f"written to {report.write('draft', record, is_quick=arguments.quick)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
