"""The ablation of the default: each of its parts taken away alone, on the same queries. Writes `results/ablation.json`.

One seed and no baselines: a difference has the standard error of its queries, and no interval over seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.paths import RESULTS_FOLDER
from benchmarks.quality.cells import YOUNG, Cell, Protocol
from benchmarks.quality.variants import digest
from hsnn.evaluation.metrics.method_metrics import figures
from hsnn.evaluation.metrics.paired_differences import check_same_queries
from hsnn.evaluation.metrics.ranks import paired_recall_difference
from hsnn.evaluation.metrics.run import Run

RESULTS = RESULTS_FOLDER / "ablation.json"
REFERENCE = "default"
PARTS = ("no_skip", "no_pairs", "no_mask", "no_content", "beam_alone", "late")
"""Variants that lack one part of the default each."""
# Queries of a young stream, at most; of the shortest ones all events of the second half are asked.
_YOUNG_QUERIES = 3000
# Items of an answer that recall is measured in, as in the tables of the data sets.
CUTS = (20, 50)

WHOLE = "whole"
Streams = dict[str, dict[str, Cell]]
"""Stream -> variant -> cell; a stream is `WHOLE`, or the number of its first events."""


def ablation_cells(name: str, protocol: Protocol, parts: Sequence[str]) -> Streams:
    """Make the cells of one data set: its young streams by their number of events, then its own window."""
    streams = {str(events): Protocol(events, min(1.0, _YOUNG_QUERIES / (events / 2))) for events in YOUNG}
    return {
        stream: {variant: Cell(name, variant, seed=0, protocol=of, baselines=()) for variant in (REFERENCE, *parts)}
        for stream, of in (streams | {WHOLE: protocol}).items()
    }


def ablation_figures(runs: Mapping[str, Run]) -> dict[str, Any]:
    """Compute recall and work of the variants on one stream, and their differences from the reference."""
    reference = runs[REFERENCE]
    return {"events": reference.events, "queries": len(reference.scored)} | {
        "variants": {variant: _row(run, reference) for variant, run in runs.items()}
    }


def _row(run: Run, reference: Run) -> dict[str, Any]:
    """Recall and work of the served path; a difference is its mean and its standard error over the queries."""
    check_same_queries(run, reference)
    of, ranks = figures(run, "served"), (run.ranks["served"], reference.ranks["served"])
    names = {f"recall_at_{cut}": cut for cut in CUTS}
    row: dict[str, Any] = {name: of[name] for name in (*names, "dots_share")}
    if run is not reference:
        row["minus_default"] = {name: paired_recall_difference(*ranks, cut) for name, cut in names.items()}
    return row


def store_ablation(name: str, streams: Streams, runs: Mapping[str, Mapping[str, Run]], codes: Sequence[str]) -> None:
    """Merge one data set into the results; sets that are not measured now stay."""
    of = {
        "config": digest(REFERENCE)[:12],
        "code": list(codes),
        "protocol": asdict(streams[WHOLE][REFERENCE].protocol),
        "streams": {stream: ablation_figures(of_stream) for stream, of_stream in runs.items()},
    }
    sets = json.loads(RESULTS.read_text("utf-8"))["sets"] if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({"sets": sets | {name: of}}, indent=1) + "\n", "utf-8")
