"""How soon a slow language model is heard: from its first token to the reply's first packet at the peer.

The model says a first sentence of 17 words at 50 tokens a second; all else takes no time. Parley's chain speaks from
the first natural break, the stock one, as it comes, from the end of the sentence. Both run side by side and are called
in turn. Run it as `python -m benchmarks.call.first_clause`; it prints a table and writes
benchmarks/results/first_clause.json.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from benchmarks import report
from benchmarks.call.overhead import first_packets
from benchmarks.far_end.servers import fakes

TOKENS_PER_S = 50
CHAINS = ("parley", "stock")
TURNS_PER_CALL = 5
TONES = 5  # clauses that either chain makes of a reply, at most
REPLIES = {
    "an opening word": "Sure, the next train to the coast leaves from platform four at half past nine this evening.",
    "no punctuation": "The next train to the old town leaves from platform four at half past nine this evening.",
}
LAST_SENTENCE = " Anything else?"  # a sentence is over once the next has begun


async def measure(first_sentence: str, calls: int) -> dict[str, list[float]]:
    """The latencies of each chain's turns, in s."""
    options = ["--reply", first_sentence + LAST_SENTENCE, "--tokens-per-s", str(TOKENS_PER_S)]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(fakes("--chain", chain, *options)) for chain in CHAINS]
        latencies: dict[str, list[float]] = {server.name: [] for server in servers}
        for _ in range(calls):
            for server in servers:
                latencies[server.name] += await first_packets(server, TURNS_PER_CALL, since="first_tokens", tones=TONES)
        return latencies


def tabulate(by_reply: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The figures as a Markdown table, one column a chain."""
    names = list(next(iter(by_reply.values())))
    rows = [[title, *(_milliseconds(chains[name]) for name in names)] for title, chains in by_reply.items()]
    return report.table(["17 words with ..., p50 / p90 in ms", *names], rows)


def _milliseconds(summary: Mapping[str, Any]) -> str:
    return f"{summary['p50'] * 1000:.0f} / {summary['p90'] * 1000:.0f}" if summary["n"] else "-"


def _figures(latencies: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {name: report.summary(values) for name, values in latencies.items()}


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4, help=f"with each chain; {TURNS_PER_CALL} turns each")
    parser.add_argument("--quick", action="store_true", help="one call")
    arguments = parser.parse_args()
    calls = 1 if arguments.quick else arguments.calls
    by_reply = {title: _figures(asyncio.run(measure(text, calls))) for title, text in REPLIES.items()}
    print(tabulate(by_reply))
    record = {"tokens_per_s": TOKENS_PER_S, "calls": calls, "first_token_to_first_packet_s": by_reply}
    print(f"written to {report.write('first_clause', record, is_quick=arguments.quick)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
