"""Churn: items are replaced while queries run, here and in nearest-neighbour indexes. Writes `results/churn.json`.

    make bench-churn
    make bench-churn ARGS='--items 100000 --churn 0.1 --peers hnswlib,faiss --json FILE'

Every competitor has a process of its own, one after the other, on the same items, replacements and queries (by seed):
`hsnn` is the real scheduler, a Redis-protocol server and a following mirror, its node vectors never touched;
`refitted` publishes a version with fitted nodes before each look, which is the fresh rebuild to compare with.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table

from benchmarks.arguments import positive
from benchmarks.churn.columns import HEAD, cells
from benchmarks.churn.competitors import OWN, measure
from benchmarks.churn.peers import PEERS
from benchmarks.churn.plots import draw
from benchmarks.churn.vector_set_server import NoVectorSetsError
from benchmarks.paths import RESULTS_FOLDER, ROOT
from hsnn.evaluation.errors import MissingPackageError

RESULTS, PICTURES = RESULTS_FOLDER / "churn.json", ROOT / "docs" / "img"
# each process is forked off one that has imported torch and has no threads
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["benchmarks.churn.competitors"])

# items; of fewer, the smallest budget (200) scores more than a tenth
_FEWEST_ITEMS = 2000


def main(arguments: Sequence[str] | None = None) -> None:
    options, console = _options(arguments), Console(width=140)
    for items in options.items:
        found: dict[str, Any] = {}
        for name in (*OWN, *options.peers):
            if (figures := _measured(name, items, options, console)) is not None:
                found[name] = figures
                _keep(items, found, options)  # a run that is cut off leaves what it has
        console.print(_table(items, found))
        if options.json is None:
            draw(found, PICTURES, f"churn-{items}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Churn, side by side with nearest-neighbour indexes.")
    parser.add_argument(
        "--items", type=lambda text: [int(one) for one in _names(text)], default=[100_000], help="sizes, with commas"
    )
    parser.add_argument(
        "--churn",
        type=lambda text: sorted(float(one) for one in _names(text)),
        default=[0.01, 0.1, 0.5, 1.0],
        help="shares of the items replaced at which it is looked, with commas; up to 1",
    )
    parser.add_argument("--peers", type=_names, default=list(PEERS), help=f"of {', '.join(PEERS)}, or nothing")
    parser.add_argument("--users", type=positive, default=1000, help="of whom the first 400 are asked; 1000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="write here, and no plots, instead of the results")
    options = parser.parse_args(arguments)
    if unknown := set(options.peers) - PEERS.keys():
        parser.error(f"no peer is called {', '.join(sorted(unknown))}; there are: {', '.join(PEERS)}")
    if not all(0 < share <= 1 for share in options.churn) or not all(items >= _FEWEST_ITEMS for items in options.items):
        parser.error(f"--churn takes shares above 0 up to 1, --items {_FEWEST_ITEMS} or more")
    return options


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _measured(name: str, items: int, options: argparse.Namespace, console: Console) -> dict[str, Any] | None:
    """Figures of one competitor, measured in a process of its own; None if it cannot be measured here."""
    with _forks.Pool(1) as pool:
        try:
            figures: dict[str, Any] = pool.apply(measure, (name, items, options.users, options.churn, options.seed))
        except (NoVectorSetsError, MissingPackageError) as error:
            console.print(f"{name}: left out: {error}")
            return None
    console.print(f"{items:,} items, {name}: done")
    return figures


def _table(items: int, found: dict[str, Any]) -> Table:
    table = Table(title=f"{items:,} items, one thread each")
    for column in HEAD:
        table.add_column(column, justify="left" if not column else "right")
    for name, of in found.items():
        for look in of["looks"]:
            table.add_row(*cells(name, look))
        table.add_section()
    return table


def _keep(items: int, found: dict[str, Any], options: argparse.Namespace) -> None:
    """Write what was measured; in the results, other sizes stay."""
    path = options.json or RESULTS
    before = json.loads(RESULTS.read_text("utf-8"))["sizes"] if path == RESULTS and RESULTS.exists() else {}
    size = {"churn": options.churn, "users": options.users, "seed": options.seed, "competitors": found}
    on = {"machine": platform.machine(), "cores": os.cpu_count()}
    path.write_text(json.dumps({"on": on, "sizes": before | {str(items): size}}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
