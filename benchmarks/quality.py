"""Retrieval quality, offline: the loop on real data sets, one pass, one process. Writes `results/quality.json`.

    make bench ARGS=benchmarks/quality.py

ml-100k is fetched if need be. Other data sets are measured if HSNN_DATA names a folder that holds them; what is left
out is said. One configuration, the defaults, for all of them.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec
import numpy as np
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
    found = {}
    for name, limit in SETS.items():
        if name != "ml-100k" and not (Path(os.environ.get("HSNN_DATA", "")) / name).is_dir():
            console.print(f"{name}: left out, HSNN_DATA names no folder that holds it")
            continue
        data = load(name, limit=limit)
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
        found[name] = runs
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    result = {"config": config.digest(), "query_share": QUERY_SHARE, "on": machine, "sets": found}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    console.print(f"written to {RESULTS.name}")


if __name__ == "__main__":
    main()
