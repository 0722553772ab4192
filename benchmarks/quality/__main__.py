"""Retrieval quality, offline: data sets x variants x seeds, one pass each. Writes `results/quality.json`.

    make bench-quality
    make bench-quality ARGS='--sets globo-news,ml-100k --variants default,sil --seeds 3 --jobs 2'

ml-100k is downloaded if necessary. Other data sets are measured if HSNN_DATA names a folder that holds them; skipped
ones are reported. Every run is cached, so an interrupted benchmark continues where it was; runs made by other code are
used and reported, or repeated with --fresh. Results that are not measured now stay in the file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console

from benchmarks.paths import RESULTS_FOLDER, ROOT
from benchmarks.quality.cells import Cell, Protocol, code_digest, source
from benchmarks.quality.goals import goals
from benchmarks.quality.variants import VARIANTS, configured, digest
from hsnn.evaluation.methods import CANDIDATE_ORDERS, CURVE_BUDGETS, parse_baselines
from hsnn.evaluation.metrics.paired_differences import compare, compare_columns
from hsnn.evaluation.metrics.run import Run
from hsnn.evaluation.report.summary import across, interval_values, table

RESULTS = RESULTS_FOLDER / "quality.json"
SETS = {
    "ml-100k": Protocol(None, 0.65),
    "globo-news": Protocol(1_200_000, 0.055, 600_000, 1_200_000),
    "globo-news-300k": Protocol(300_000, 0.1),
    "globo-news-whole": Protocol(None, 0.045),
    "movietweetings": Protocol(None, 0.5),
    "kuairand": Protocol(None, 0.6),
    "online-retail-ii": Protocol(400_000, 0.25),
}
"""Protocols of the data sets: each has 30,000 queries or more where the stream is long enough."""
REFERENCE = "default"
FIGURES = ("recall_at_20", "recall_at_50", "rare_recall_at_50")
VARIANT_BASELINES = ("popularity", "popularity_filter")
"""Baselines of all variants but the reference; the other baselines are the same for every variant."""


def main(arguments: Sequence[str] | None = None) -> None:
    options, console = _options(arguments), Console(width=120)
    sets = [name for name in options.sets if _available(name, console)]
    cells = {(name, variant): _cells(name, variant, options) for name in sets for variant in options.variants}
    wanted = list(dict.fromkeys(cell for row in cells.values() for cell in row))
    _measure(wanted, options, console)
    for name in sets:
        _store(name, _figures(name, cells, options, console))
    console.print(f"written to {RESULTS.relative_to(ROOT)}; `make docs` makes the tables")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Retrieval quality, offline.")
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser.add_argument("--sets", type=names, default=list(SETS), help="data sets, with commas; all that are there")
    parser.add_argument(
        "--variants", type=names, default=[REFERENCE], help="of benchmarks/quality/variants.py, beside default"
    )
    parser.add_argument("--seeds", type=int, default=3, help="passes each, with seeds from 0; 3")
    parser.add_argument("--jobs", type=int, default=1, help="passes at once; 1")
    parser.add_argument("--baselines", default="all", help="of the default variant: all, none or names with commas")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "quality", help="folder of the passes")
    parser.add_argument("--fresh", action="store_true", help="make passes again that other code made")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.sets if name not in SETS]:
        parser.error(f"no data set is called {', '.join(unknown)}; there are: {', '.join(SETS)}")
    options.variants = list(dict.fromkeys([REFERENCE, *options.variants]))
    for variant in options.variants:
        configured(variant, 0)
    return options


def _available(name: str, console: Console) -> bool:
    if name == "ml-100k" or (Path(os.environ.get("HSNN_DATA", "")) / source(name)).is_dir():
        return True
    console.print(f"{name}: left out, HSNN_DATA names no folder that holds it")
    return False


def _cells(name: str, variant: str, options: argparse.Namespace) -> list[Cell]:
    baselines = parse_baselines(options.baselines) if variant == REFERENCE else VARIANT_BASELINES
    return [Cell(name, variant, seed, SETS[name], baselines) for seed in range(options.seeds)]


def _measure(cells: Sequence[Cell], options: argparse.Namespace, console: Console) -> None:
    """Run the cells that are not in the cache."""
    code = code_digest()
    missing = [cell for cell in cells if not cell.is_cached(options.cache, code if options.fresh else None)]
    older = sum(cell.is_cached(options.cache) and not cell.is_cached(options.cache, code) for cell in cells)
    if older and not options.fresh:
        console.print(f"{older} passes were made by other code than this; --fresh makes them again")
    console.print(f"{len(cells)} passes, {len(missing)} of them to be made")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=spawn) as pool:
        running = {pool.submit(cell.run, options.cache): cell for cell in missing}
        for done in as_completed(running):
            done.result()
            cell = running[done]
            console.print(f"{cell.data}, {cell.variant}, seed {cell.seed}: done")


def _figures(
    name: str, cells: dict[tuple[str, str], list[Cell]], options: argparse.Namespace, console: Console
) -> dict[str, Any]:
    """Compute the figures of the variants of one data set, and their differences from the reference."""
    runs = {variant: [cell.load(options.cache) for cell in cells[name, variant]] for variant in options.variants}
    variants: dict[str, Any] = {}
    for variant, variant_runs in runs.items():
        figures = across(variant_runs)
        console.print(
            table(figures, f"{name}, {variant}: {figures['queries']:,.0f} queries, {len(variant_runs)} seed(s)")
        )
        del figures["per_seed"]  # every value per seed is in the intervals
        variants[variant] = figures | {
            "changes": VARIANTS[variant],
            "config": digest(variant),
            "code": _codes(cells[name, variant], options.cache),
        }
        if variant != REFERENCE:
            variants[variant]["minus_reference"] = _differences(variant_runs, runs[REFERENCE])
    verdicts = goals(name, runs)
    for verdict in verdicts:
        console.print(f"{verdict['what']}: {verdict['mean']:.4f}, goal {verdict['goal']}: {verdict['verdict']}")
    return {"protocol": asdict(SETS[name]), "variants": variants, "goals": verdicts}


def _differences(runs: Sequence[Run], reference_runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Differences between a variant and the reference, paired by seed and query."""

    def column_difference(column: str, reference: str) -> dict[str, Any]:
        difference = compare_columns(runs, reference_runs, column=column, reference=reference, cut=50)
        return interval_values(difference)

    differences: dict[str, dict[str, Any]] = {
        method: {
            figure: interval_values(compare(runs, reference_runs, figure=figure, method=method, reference=method))
            for figure in FIGURES
        }
        for method in ("served", "exhaustive")
    }
    for order in CANDIDATE_ORDERS:
        differences[order] = {
            str(budget): column_difference(f"{order}@{budget}", f"{order}@{budget}") for budget in CURVE_BUDGETS
        }
    differences["merge_traffic_minus_reference_merge"] = {
        str(budget): column_difference(f"merge_traffic@{budget}", f"merge@{budget}") for budget in CURVE_BUDGETS
    }
    return differences


def _codes(cells: Sequence[Cell], cache: Path) -> list[str]:
    paths = [cell.path(cache).with_suffix(".json") for cell in cells]
    return sorted({json.loads(path.read_text("utf-8"))["code"][:12] for path in paths})


def _store(name: str, figures: dict[str, Any]) -> None:
    """Merge one data set's figures into the results; older variants and goals stay if the protocol is the same."""
    before = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    sets = before.get("sets", {})
    old = sets.get(name, {})
    if old.get("protocol") == figures["protocol"]:
        figures["variants"] = old["variants"] | figures["variants"]
        goals_by_text = {goal["what"]: goal for goal in (*old.get("goals", ()), *figures["goals"])}
        figures["goals"] = list(goals_by_text.values())
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": str(torch.__version__)}
    result = {"on": machine, "sets": {**sets, name: figures}}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
