"""Kill a real trainer again and again; it must end bit for bit like one that was not.

    make crash-test
    make crash-test ARGS='--kills 20 --events 50000 --log redis --seed 7 --json FILE'

Real events (globo-news if HSNN_DATA holds it, else ml-100k, which is fetched) go into a log, with some broken and some
repeated ones among them. A trainer learns them and is killed by SIGKILL in every phase of its work, and started anew.
At the end its checkpoint is compared with that of a run without kills. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.arguments import positive
from benchmarks.crash import report
from benchmarks.crash.faults import FAULTS
from benchmarks.crash.fork_server import TrainerFailedError
from benchmarks.crash.plan import plan
from benchmarks.crash.runs import run_undisturbed, run_with_kills
from benchmarks.crash.sandbox import LOGS, batch_size, sandbox
from benchmarks.crash.verdict import differences
from hsnn.streaming.datasets import Dataset, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the harness; 0 if every killed run ended as the undisturbed one."""
    options, console = _options(arguments), Console()
    data = load(options.data or _default_data(), options.events)
    console.print(f"{len(data):,} events of {data.name}, {options.kills} kills, seed {options.seed}")
    results = {}
    for kind in LOGS if options.log == "both" else (options.log,):
        results[kind] = _crash_test(kind, data, options, console)
    if options.json:
        result = {"data": data.name, "events": len(data), "kills": options.kills, "seed": options.seed, "logs": results}
        options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return int(any(result["differences"] for result in results.values()))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make crash-test", description="Kill a trainer again and again.")
    parser.add_argument("--kills", type=positive, default=200, help="SIGKILLs per log; 200")
    parser.add_argument("--events", type=positive, default=200_000, help="events from the start of the data; 200,000")
    parser.add_argument("--log", choices=(*LOGS, "both"), default="both", help="log of the events; both")
    parser.add_argument("--seed", type=int, default=0, help="of the kills; 0")
    parser.add_argument("--data", help="NAME or NAME:FOLDER, as `hsnn data list` names it")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--fault", choices=FAULTS, help="break the trainer's restart, to see the harness fail")
    return parser.parse_args(arguments)


def _default_data() -> str:
    folder = os.environ.get("HSNN_DATA", "")
    return "globo-news" if folder and Path(folder, "globo-news").is_dir() else "ml-100k"


def _crash_test(kind: str, data: Dataset, options: argparse.Namespace, console: Console) -> dict[str, object]:
    """Make both runs over a log of this kind and compare them."""
    batch = batch_size(len(data), options.kills)
    kills = plan(options.kills, len(data), batch, options.seed)
    with report.Progress(console, kind) as progress, sandbox(kind, data, batch, progress.filling(len(data))) as box:
        try:
            killed = run_with_kills(box, kills, options.fault, progress.killing(len(kills)))
            progress.start("undisturbed run")
            undisturbed = run_undisturbed(box)
        except TrainerFailedError as error:
            return report.failed(console, kind, str(error))
    wrong = differences(killed, undisturbed, box.contents, options.kills)
    return report.show(console, kind, killed=killed, undisturbed=undisturbed, wrong=wrong)


if __name__ == "__main__":
    sys.exit(main())
