"""Retrieval quality, offline: the loop on real data sets, one pass, one process. Writes `results/quality.json`.

    make bench ARGS=benchmarks/quality.py
    python benchmarks/quality.py ml-100k kuairand      # only these; the others' figures stay, if of the same config

ml-100k is fetched if need be. Other data sets are measured if HSNN_DATA names a folder that holds them; what is left
out is said. One configuration, the defaults, for all of them.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from evaluation.harness import evaluate
from evaluation.report import sentences, summary, table
from hsnn.config import Config
from streaming.datasets import load

RESULTS = Path(__file__).parent / "results" / "quality.json"
SETS = {"ml-100k": None, "globo-news": 300_000, "movietweetings": None, "kuairand": None, "online-retail-ii": 200_000}
SEEDS = {"ml-100k": (0, 1, 2), "globo-news": (0, 1, 2)}  # one seed for the others
QUERY_SHARE = 0.1


def main() -> None:
    console = Console(width=120)
    config = Config()
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": str(torch.__version__)}
    for name in sys.argv[1:] or SETS:
        if name != "ml-100k" and not (Path(os.environ.get("HSNN_DATA", "")) / name).is_dir():
            console.print(f"{name}: left out, HSNN_DATA names no folder that holds it")
            continue
        data = load(name, limit=SETS[name])
        trainer = config.trainer.model_copy(update={"expire_after_idle": data.expire_after_idle})
        runs = []
        for seed in SEEDS.get(name, (0,)):
            run = evaluate(
                data, trainer.model_copy(update={"seed": seed}), config.streaming.batch_size, query_share=QUERY_SHARE
            )
            runs.append(summary(run, trainer.model.budget))
            console.print(table(runs[-1], f"{name}, seed {seed}: {run.events:,} events, {len(run.scored):,} queries"))
            for sentence in sentences(runs[-1]):
                console.print(sentence)
        _keep(config.digest(), machine, name, runs)
    console.print(f"written to {RESULTS.name}")


def _keep(digest: str, machine: dict[str, object], name: str, runs: list[dict[str, Any]]) -> None:
    """Write one data set's figures beside those of the same configuration."""
    before = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    sets = before["sets"] if before.get("config") == digest else {}
    result = {"config": digest, "query_share": QUERY_SHARE, "on": machine, "sets": sets | {name: runs}}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
