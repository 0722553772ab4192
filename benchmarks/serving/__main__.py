"""Time and recall of one request, in process, one thread: engine, reference path and peers, in one run.

    make bench-serving
    make bench-serving ARGS='--items 100000 --peers hnswlib,faiss --json FILE'

All search the same planted vectors for the top 100 of an exhaustive search. The engine and the reference path answer
whole requests: user look-up, towers, leaves, scores, answer. Peers are given the user vector, and search alone.
A second table asks the engine under filters that few items pass.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.arguments import positive
from benchmarks.churn.planted_data import user_name
from benchmarks.paths import RESULTS_FOLDER
from benchmarks.serving.peers import PEERS, Effort
from benchmarks.serving.planted_mirror import PlantedCatalogue, plant
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search import retrieval
from hsnn.serving.search.conditions import ItemConditions
from hsnn.trainer.threads import use_threads

RESULTS = RESULTS_FOLDER / "serving.json"
# users who ask, and items per answer
USERS, K = 200, 100
# nodes that are opened at most
BEAMS = (4, 8, 16, 32, 64, 128)
# shares of the items that pass a filter
PASSING = (0.5, 0.1, 0.01, 0.001)

_NO_FILTERS = Filters()
# items of a large answer
MANY = 500
# rounds of all users: the median counts
ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    options, console = _options(arguments), Console(width=120)
    use_threads(1)
    sizes = {str(items): measure(items, options, console) for items in options.items}
    on = {"machine": platform.machine(), "cores": os.cpu_count()}
    (options.json or RESULTS).write_text(json.dumps({"on": on, "sizes": sizes}, indent=2) + "\n", "utf-8")


def measure(items: int, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Measure all competitors on a catalogue of `items`."""
    made = plant(items, USERS, options.seed)
    products = made.queries @ made.vectors.T
    truth = np.argpartition(-products, MANY, axis=1)[:, :MANY]
    truth = np.take_along_axis(truth, np.argsort(-np.take_along_axis(products, truth, 1), axis=1), 1)
    engine, reference = made.mirror(engine=True), made.mirror(engine=False)
    found = {
        "reference, its defaults": [_timed(_default(reference, made, whole=False), truth[:, :K])],
        "engine, its defaults": [_timed(_default(engine, made, whole=True), truth[:, :K])],
        "engine": [_timed(_by_beam(engine, made, beam), truth[:, :K]) for beam in BEAMS],
    }
    for name in options.peers:
        efforts = PEERS[name](made.vectors, made.queries, K)
        found[name] = [_timed(effort, truth[:, :K]) for effort in efforts]
    found[f"engine, k = {MANY}"] = [_timed(_default(engine, made, whole=True, k=MANY), truth)]
    filtered = _filtered(engine, made, products, options.seed)
    console.print(_table(items, found | {"engine, filtered": filtered}))
    return found | {"engine, filtered": filtered}


def _default(
    mirror: Mirror, made: PlantedCatalogue, *, whole: bool, k: int = K, filters: Filters = _NO_FILTERS
) -> Effort:
    limits = RetrievalLimits(max_k=1000, whole_leaves=whole)
    return Effort(
        "defaults", partial(_ask, mirror=mirror, first_row=made.first_row, limits=limits, k=k, filters=filters)
    )


def _by_beam(mirror: Mirror, made: PlantedCatalogue, beam: int) -> Effort:
    """Open `beam` leaves, and score twice as many items fully as are asked for."""
    limits = RetrievalLimits(max_k=1000, beam=beam, budget=2 * K, whole_leaves=True)
    return Effort(f"beam {beam}", partial(_ask, mirror=mirror, first_row=made.first_row, limits=limits, k=K))


def _ask(
    number: int, *, mirror: Mirror, first_row: int, limits: RetrievalLimits, k: int, filters: Filters = _NO_FILTERS
) -> Any:
    answer = retrieval.retrieve(mirror, [Request(user=user_name(number), k=k, filters=filters)], limits)[0]
    return np.array([int(item[1:]) for item in answer.items]) - first_row


def _timed(effort: Effort, truth: Any) -> dict[str, Any]:
    """Recall, and the median over rounds of the mean time, microseconds, of a pass over all queries."""
    found = [effort.search(number) for number in range(USERS)]
    recall = np.mean([len(np.intersect1d(one, best)) / len(best) for one, best in zip(found, truth, strict=True)])
    times = [_seconds(effort.search) / USERS for _ in range(ROUNDS)]
    return {"setting": effort.setting, "recall": round(float(recall), 4), "us": round(1e6 * float(np.median(times)), 1)}


def _seconds(search: Callable[[int], Any]) -> float:
    began = time.process_time()
    for number in range(USERS):
        search(number)
    return time.process_time() - began


def _filtered(mirror: Mirror, made: PlantedCatalogue, products: Any, seed: int) -> list[dict[str, Any]]:
    """Ask the engine under random masks; recall is that of an exhaustive search under the same mask.

    The mask takes the place of the filter that a request must have, since one without any takes a shorter way.
    """
    rng, rows, plain = np.random.default_rng(seed), made.first_row + len(made.vectors), retrieval.conditions_of
    looks = []
    for share in PASSING:
        mask = np.zeros(rows, np.bool_)
        mask[made.first_row :] = rng.random(len(made.vectors)) < share
        passing = np.flatnonzero(mask[made.first_row :])
        best = passing[np.argsort(-products[:, passing], axis=1)[:, :K]]
        retrieval.conditions_of = lambda _state, _request, mask=mask: ItemConditions(mask)  # type: ignore[misc]
        try:
            look = _timed(_default(mirror, made, whole=True, filters=Filters(exclude=["nothing"])), best)
        finally:
            retrieval.conditions_of = plain
        looks.append(look | {"setting": f"{100 * share:g}% pass"})
    return looks


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time and recall of one request, in process.")
    parser.add_argument("--items", type=_sizes, default=[10_000, 100_000], help="sizes, with commas")
    parser.add_argument("--peers", type=_names, default=list(PEERS), help=f"of {', '.join(PEERS)}, or nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="write here instead of the results")
    options = parser.parse_args(arguments)
    if unknown := set(options.peers) - PEERS.keys():
        parser.error(f"no peer is called {', '.join(sorted(unknown))}; there are: {', '.join(PEERS)}")
    if min(options.items) < 2 * MANY:
        parser.error(f"--items takes {2 * MANY} or more")
    return options


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _sizes(text: str) -> list[int]:
    return [positive(name) for name in _names(text)]


def _table(items: int, found: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(title=f"{items:,} items, one thread: recall of the top {K} and CPU time of one query")
    table.add_column("")
    table.add_column("setting")
    table.add_column("recall", justify="right")
    table.add_column("us", justify="right")
    for name, looks in found.items():
        for look in looks:
            table.add_row(name, look["setting"], f"{look['recall']:.3f}", f"{look['us']:,.0f}")
        table.add_section()
    return table


if __name__ == "__main__":
    main()
