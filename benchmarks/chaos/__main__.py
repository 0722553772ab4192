"""Strike a whole loop at random: wrong clocks, kills, second trainers, full disks, lost rights, poison.

    make chaos
    make chaos ARGS='--minutes 10 --cluster --only redis'
    make chaos ARGS='--minutes 60 --disruptions 500 --seed 1 --log kafka --json FILE'

A log, Redis, a trainer, two schedulers, two servers, a producer that knows what it has sent, and users who ask.
Disruptions come one after the other: each lasts a few seconds, must be visible to an operator within ten, and be over
without a hand. Wrong clocks need a C compiler, a full disk the right to mount a file system; what is missing is left
out, and the report says so. Exit status 1, with the reasons, if a disruption was not to be seen or the loop did not
recover, if an event is unaccounted for, an item left before its end or outlived it, a server gave status 5xx, or
`hsnn index verify` finds anything.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.arguments import positive
from benchmarks.chaos.campaign import RECOVER_SECONDS, Campaign, Outcome, failures
from benchmarks.chaos.clocks import compile_library
from benchmarks.chaos.disruptions.base import Scene
from benchmarks.chaos.loop import LOGS, SERVERS, Loop
from benchmarks.chaos.plan import plan, variants
from benchmarks.chaos.queries import Queries
from benchmarks.chaos.report import markdown, rows
from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.verdict import judge
from benchmarks.paths import RESULTS_FOLDER

RESULTS = RESULTS_FOLDER / "chaos.json"
# seconds until the first version is served; the first server of an installation compiles its kernels
_START_SECONDS = 300.0
# seconds by which an item may be returned after its end: an outage of a few seconds, and a sweep
_LATE_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 if everything held."""
    options = _options(arguments)
    folder = Path(tempfile.mkdtemp(prefix="hsnn-chaos-"))
    loop = Loop(folder, options.log, compile_library(folder), cluster=options.cluster)
    try:
        found = run(loop, options)
    finally:
        loop.end()
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(f"\n{markdown(found['table'])}\n{json.dumps(found['end'], indent=2)}")
    for fault in found["faults"]:
        print(f"chaos: {fault}", file=sys.stderr)
    if found["faults"]:
        print(f"chaos: {len(found['faults'])} faults; the logs are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if found["faults"] else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Strike a whole loop at random.")
    parser.add_argument("--minutes", type=float, default=60.0, help="no disruption begins later; 60")
    parser.add_argument("--disruptions", type=positive, default=500, help="how many at most; 500")
    parser.add_argument("--only", default="", help="only kinds whose name contains this text")
    parser.add_argument("--seed", type=int, default=1, help="of order, times and traffic; 1")
    parser.add_argument("--log", choices=LOGS, default="redis")
    parser.add_argument("--cluster", action="store_true", help="Redis is a cluster; what is struck are its masters")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures there")
    return parser.parse_args(arguments)


def run(loop: Loop, options: argparse.Namespace) -> dict[str, Any]:
    """Start the loop, strike it, and judge what is left."""
    loop.start()
    traffic = Traffic(loop.open_log, options.seed)
    traffic.fill()
    scene = Scene(loop, traffic)
    queries = Queries({name: loop.roles[name].url for name in SERVERS}, traffic, options.seed)
    campaign = Campaign(scene, queries, options.seed)
    traffic.start()
    if missing := campaign.become_whole(_START_SECONDS):
        raise SystemExit(f"chaos: the loop did not start: {missing}; the logs are in {loop.folder}")
    queries.start()
    began, outcomes = time.monotonic(), []
    groups = [[one for one in group if options.only in one[0]] for group in variants(scene)]
    for number, variant in enumerate(plan([group for group in groups if group], options.disruptions, options.seed)):
        if time.monotonic() - began > 60 * options.minutes:
            break
        outcomes.append(campaign.strike(variant))
        print(_line(number, outcomes[-1]), flush=True)
        if outcomes[-1].recovered is None and campaign.become_whole(RECOVER_SECONDS):
            break  # what comes after it says nothing
    seconds = time.monotonic() - began
    traffic.end()
    end, faults = judge(scene, queries.late)
    queries.end()
    if traffic.error is not None:
        faults.append(f"the producer ended: {traffic.error!r}")
    if queries.late > _LATE_SECONDS:
        faults.append(f"an item was returned {queries.late:.0f} s after its end")
    left_out = [] if loop.clocks_can_be_set else ["wrong clocks: there is no C compiler"]
    left_out += ["refusals of Redis: it is a cluster"] if loop.cluster else []
    left_out += [] if loop.disk is not None else ["full disk: no file system could be mounted"]
    return {
        "log": options.log,
        "cluster": options.cluster,
        "seed": options.seed,
        "disruptions": len(outcomes),
        "minutes": round(seconds / 60, 1),
        "left_out": left_out,
        "table": rows(outcomes),
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "answers": queries.answers,
        "end": end,
        "faults": [*failures(outcomes), *campaign.early, *queries.faults[:20], *faults],
    }


def _line(number: int, outcome: Outcome) -> str:
    seen = "not seen" if outcome.seen is None else f"seen after {outcome.seen:.1f} s ({outcome.sign})"
    over = (
        f"NOT OVER: {outcome.missing}"
        if outcome.recovered is None
        else f"over after {outcome.recovered:.1f} s {outcome.missing[:150]}".rstrip()
    )
    return f"{number + 1:4} {outcome.kind}: {seen if outcome.expected else 'nothing to be seen'}, {over}"


if __name__ == "__main__":
    sys.exit(main())
