"""Retrieval quality, offline: data sets x variants x seeds, one pass each. Writes `results/quality.json`.

    make bench-quality
    make bench-quality ARGS='--sets globo-news,ml-100k --variants default,sil --seeds 3 --jobs 2'
    make bench-quality ARGS='--ablation --sets ml-100k'

Beside each set's own window the first 1,000, 5,000 and 20,000 events are measured against everything that counts, and
one table over all of them says where counting is ahead. ml-100k is downloaded if necessary, other sets are measured
if HSNN_DATA names a folder that holds them; skipped ones are reported. Every run is cached, so an interrupted benchmark
continues where it was; runs made by other code are used and reported, or repeated with --fresh. Results that are not
measured now stay in the file.
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
from benchmarks.quality.ablation import PARTS, ablation_cells, store_ablation
from benchmarks.quality.cells import YOUNG, Cell, Protocol, code_digest, source
from benchmarks.quality.goals import goals
from benchmarks.quality.variants import VARIANTS, configured, digest
from hsnn.evaluation.baselines.registry import counting_baselines, parse_baselines
from hsnn.evaluation.methods import CANDIDATE_ORDERS, CURVE_BUDGETS
from hsnn.evaluation.metrics.paired_differences import compare, compare_columns
from hsnn.evaluation.metrics.run import Run
from hsnn.evaluation.metrics.shortfalls import LEVEL, differences
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
MAIN_SETS = ("ml-100k", "globo-news", "movietweetings", "kuairand", "online-retail-ii")
"""Sets that are measured unless others are named, young streams included."""
YOUNG_SHARE = 0.3
"""Share of the second half of a young stream that is asked."""
REFERENCE = "default"
FIGURES = ("recall_at_20", "recall_at_50", "rare_recall_at_50")
VARIANT_BASELINES = ("popularity", "popularity_filter")
"""Baselines of all variants but the reference; the other baselines are the same for every variant."""


def main(arguments: Sequence[str] | None = None) -> None:
    options, console = _options(arguments), Console(width=120)
    sets = [name for name in options.sets if _available(name, console)]
    if options.ablation:
        for name in sets:
            _ablate(name, options, console)
        return
    cells = {(name, variant): _cells(name, variant, options) for name in sets for variant in options.variants}
    young = {(name, events): _young(name, events, options) for name in sets if name in MAIN_SETS for events in YOUNG}
    wanted = list(dict.fromkeys(cell for row in (*young.values(), *cells.values()) for cell in row))
    _measure(wanted, options, console)
    for name in sets:
        figures = _figures(name, cells, options, console)
        figures["young"] = {
            str(events): _young_figures([cell.load(options.cache) for cell in young[name, events]])
            for events in YOUNG
            if (name, events) in young
        }
        _store(name, figures)
    _store_counting(_against_counting(cells, young, options), console)
    console.print(f"written to {RESULTS.relative_to(ROOT)}; `make docs` makes the tables")


def _ablate(name: str, options: argparse.Namespace, console: Console) -> None:
    """Measure one data set without each part of the default, and store it."""
    parts = [part for part in PARTS if part in options.variants] or PARTS
    streams = ablation_cells(name, SETS[name], parts)
    cells = [cell for row in streams.values() for cell in row.values()]
    _measure(cells, options, console)
    runs = {
        stream: {variant: cell.load(options.cache) for variant, cell in row.items()} for stream, row in streams.items()
    }
    store_ablation(name, streams, runs, _codes(cells, options.cache))
    console.print(f"{name}: the ablation is stored; `make docs` makes its table")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Retrieval quality, offline.")
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser.add_argument("--sets", type=names, default=list(MAIN_SETS), help="data sets, with commas; the main ones")
    parser.add_argument(
        "--variants", type=names, default=[REFERENCE], help="of benchmarks/quality/variants.py, beside default"
    )
    parser.add_argument("--seeds", type=int, default=3, help="passes each, with seeds from 0; 3")
    parser.add_argument("--jobs", type=int, default=1, help="passes at once; 1")
    parser.add_argument(
        "--baselines", default="default", help="of the default variant: default, counting, all, none, names with commas"
    )
    parser.add_argument(
        "--ablation",
        action="store_true",
        help="the default without each part, or the --variants; seed 0, no baselines; writes a file of its own",
    )
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
    return [Cell(name, variant, seed, protocol=SETS[name], baselines=baselines) for seed in range(options.seeds)]


def _young(name: str, events: int, options: argparse.Namespace) -> list[Cell]:
    """Cells of the first events of a set."""
    protocol = Protocol(events, YOUNG_SHARE)
    return [
        Cell(name, REFERENCE, seed, protocol=protocol, baselines=counting_baselines()) for seed in range(options.seeds)
    ]


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
            console.print(f"{cell.data}, {cell.variant}, seed {cell.seed}: {_costs(cell.load(options.cache))}")


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


def _costs(run: Run) -> str:
    """What a cell took, part by part, the largest first."""
    parts = sorted((run.costs | {"training": run.training_seconds}).items(), key=lambda part: -part[1])
    return f"{run.seconds:.0f} s: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in parts if seconds >= 1)


def _young_figures(runs: Sequence[Run]) -> dict[str, Any]:
    """What the table of young streams needs."""
    figures = across(runs)
    return {key: figures[key] for key in ("methods", "queries", "intervals", "comparisons", "settings")}


def _against_counting(
    cells: dict[tuple[str, str], list[Cell]], young: dict[tuple[str, int], list[Cell]], options: argparse.Namespace
) -> dict[str, Any]:
    """Compare the served path with every counting baseline on every set, young and grown, as one table."""
    rows = {f"{name}, first {events:,}": row for (name, events), row in young.items()}
    rows |= {name: row for (name, variant), row in cells.items() if variant == REFERENCE and name in MAIN_SETS}
    runs = {stream: [cell.load(options.cache) for cell in row] for stream, row in rows.items()}
    table = differences(runs, {stream: row[0].counting for stream, row in runs.items()})
    behind = [asdict(one) for one in table if one.behind]
    return {"streams": list(runs), "comparisons": len(table), "level": LEVEL, "behind": behind}


def _store_counting(found: dict[str, Any], console: Console) -> None:
    """Store where counting is ahead, in place of what was found before."""
    console.print(f"counting is ahead in {len(found['behind'])} of {found['comparisons']} comparisons (Holm)")
    for one in found["behind"]:
        console.print(f"  {one['stream']}: {one['method']}, {one['figure']} by {-100 * one['mean']:.2f} points")
    result = json.loads(RESULTS.read_text("utf-8"))
    RESULTS.write_text(json.dumps(result | {"against_counting": found}, indent=2) + "\n", "utf-8")


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
    """Merge one data set's figures into the results.

    Older variants and goals stay if protocol and default configuration are the same: of another default, differences
    from it would be read as if they were of this one.
    """
    before = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    sets = before.get("sets", {})
    old = sets.get(name, {})
    reference = old.get("variants", {}).get(REFERENCE, {}).get("config")
    if (old.get("protocol"), reference) == (figures["protocol"], figures["variants"][REFERENCE]["config"]):
        figures["variants"] = old["variants"] | figures["variants"]
        goals_by_text = {goal["what"]: goal for goal in (*old.get("goals", ()), *figures["goals"])}
        figures["goals"] = list(goals_by_text.values())
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": str(torch.__version__)}
    result = before | {"on": machine, "sets": {**sets, name: figures}}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
