"""One call at a time, Parley beside a stock Pipecat bot on the same engines, measured at the far end on waveforms.

The two servers run side by side and are called in turn, so that both see the same machine. Run it as
`python -m benchmarks.call`; it prints a table and writes benchmarks/results/call.json.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import report
from benchmarks.call import overhead
from benchmarks.call.scenarios import NoStory, Observation, Scenario, hold_call, tell
from benchmarks.far_end.servers import Server, parley, stock

DISTURBED = tuple(scenario for scenario in Scenario if scenario is not Scenario.REFERENCE)
FALSE_ALARMS = (Scenario.COUGH, Scenario.VOICED_COUGH, Scenario.BACKCHANNEL)


async def measure(rounds: int) -> dict[str, list[Observation]]:
    """Every scenario `rounds` times with each server, in turn."""
    async with parley() as ours, stock() as theirs:
        servers = (ours, theirs)
        stories = {server.name: await tell(server) for server in servers}
        observations: dict[str, list[Observation]] = {server.name: [] for server in servers}
        for number in range(rounds):
            for scenario in DISTURBED:
                for server in servers:
                    observation = await _hold_call(server, scenario, number, stories)
                    if observation is not None:
                        observations[server.name].append(observation)
        return observations


async def _hold_call(server: Server, scenario: Scenario, number: int, stories: Mapping[str, Any]) -> Observation | None:
    try:
        observation = await hold_call(server, scenario, number, stories[server.name])
    except NoStory as error:
        print(f"{server.name:7} {scenario}: left out: {error}", file=sys.stderr, flush=True)
        return None
    print(f"{server.name:7} {scenario}: {_in_words(observation)}", file=sys.stderr, flush=True)
    return observation


def figures(observations: Sequence[Observation]) -> dict[str, Any]:
    """What the calls with one server come to. Times in s."""

    def of(scenario: Scenario, name: str) -> list[float]:
        values = [getattr(o, name) for o in observations if o.scenario is scenario]
        return [value for value in values if value is not None]

    def false_alarm(scenario: Scenario) -> dict[str, Any]:
        calls = [o for o in observations if o.scenario is scenario]
        going_on = [o.continuity for o in calls if o.continuity is not None]
        return {
            "calls": len(calls),
            "broken_off": sum(o.continuity is None for o in calls),
            "with_hole": sum(o.cut_s is not None and o.continuity is not None for o in calls),
            "ducked": sum(o.ducked_s is not None for o in calls),
            "dead_air_s": report.summary([o.dead_air_s for o in calls]),
            "lost_ms": report.summary([c.lost_ms for c in going_on]),
            "repeated_ms": report.summary([c.repeated_ms for c in going_on]),
            "paused_ms": report.summary([c.paused_ms for c in going_on]),
            "unmatched_s": report.summary([c.unmatched_s for c in going_on]),
        }

    interrupted = [o for o in observations if o.scenario.is_interruption]
    return {
        "reply_s": report.summary([reply for o in observations for reply in o.reply_s]),
        "unanswered": sum(o.unanswered for o in observations),
        "ducked_s": report.summary(of(Scenario.INTERRUPTION, "ducked_s")),
        "cut_s": report.summary(of(Scenario.INTERRUPTION, "cut_s")),
        "ducked_after_loss_s": report.summary(of(Scenario.AFTER_LOSS, "ducked_s")),
        "cut_after_loss_s": report.summary(of(Scenario.AFTER_LOSS, "cut_s")),
        "interruptions": len(interrupted),
        "not_cut": sum(o.cut_s is None for o in interrupted),
        "stale_audio": sum(o.is_stale for o in interrupted),
        "false_alarms": {scenario.value: false_alarm(scenario) for scenario in FALSE_ALARMS},
    }


def tabulate(by_server: Mapping[str, Mapping[str, Any]], overhead_s: Mapping[str, Any]) -> str:
    """The figures as a Markdown table, one column a server."""
    names = list(by_server)

    def row(title: str, *keys: str) -> list[str]:
        return [title, *(_milliseconds(_at(by_server[name], keys)) for name in names)]

    def count(title: str, of: str, total: str) -> list[str]:
        return [title, *(f"{by_server[name][of]} of {by_server[name][total]}" for name in names)]

    rows = [
        row("caller's last sample to first of the reply", "reply_s"),
        row("caller's first sample to ducked packet", "ducked_s"),
        row("caller's first sample to last agent packet", "cut_s"),
        row("... ducked, after a lost packet", "ducked_after_loss_s"),
        row("... last, after a lost packet", "cut_after_loss_s"),
        count("interruptions not heeded", "not_cut", "interruptions"),
        count("audio from before the cut after it", "stale_audio", "interruptions"),
    ]
    for scenario in FALSE_ALARMS:
        alarms = {name: by_server[name]["false_alarms"][scenario.value] for name in names}
        rows.append([f"{scenario}: story broken off", *(f"{a['broken_off']} of {a['calls']}" for a in alarms.values())])
        rows.append([f"{scenario}: hole in the story", *(f"{a['with_hole']} of {a['calls']}" for a in alarms.values())])
        rows.append([f"{scenario}: dead air", *(_milliseconds(a["dead_air_s"]) for a in alarms.values())])
        rows.append([f"{scenario}: worst lost / repeated", *(_worst(a) for a in alarms.values())])
    rows.append(["final transcript to first packet, engines of no delay", _milliseconds(overhead_s), "-"])
    return report.table(["p50 / p90 in ms", *names], rows)


def _at(figures: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, Any]:
    for key in keys:
        figures = figures[key]
    return figures


def _milliseconds(summary: Mapping[str, Any]) -> str:
    return f"{summary['p50'] * 1000:.0f} / {summary['p90'] * 1000:.0f}" if summary["n"] else "-"


def _worst(alarm: Mapping[str, Any]) -> str:
    if not alarm["lost_ms"]["n"]:
        return "-"
    return f"{alarm['lost_ms']['max']:.1f} / {alarm['repeated_ms']['max']:.1f}"


def _in_words(observation: Observation) -> str:
    replies = ", ".join(f"{reply * 1000:.0f}" for reply in observation.reply_s)
    words = [f"replies after {replies or 'never'} ms"]
    if observation.ducked_s is not None:
        words.append(f"ducked after {observation.ducked_s * 1000:.0f} ms")
    if observation.cut_s is not None:
        words.append(f"silent after {observation.cut_s * 1000:.0f} ms, for {observation.dead_air_s:.2f} s")
    if observation.is_stale:
        words.append("stale audio")
    if (story := observation.continuity) is not None:
        words.append(f"lost {story.lost_ms:.1f}, repeated {story.repeated_ms:.1f}, paused {story.paused_ms:.1f} ms")
    return "; ".join(words)


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="calls of each kind with each server")
    parser.add_argument("--quick", action="store_true", help="one round")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    overhead_s = report.summary(asyncio.run(overhead.measure(5 if arguments.quick else 20)))
    by_server = {name: figures(held) for name, held in asyncio.run(measure(rounds)).items()}
    print(tabulate(by_server, overhead_s))
    record = {"rounds": rounds, "servers": by_server, "final_to_first_packet_s": overhead_s}
    print(f"written to {report.write('call', record, is_quick=arguments.quick)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
