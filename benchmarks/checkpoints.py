"""What checkpoints cost: pauses in training, their sizes, throughput. Writes `results/checkpoints.json`.

    make bench ARGS=benchmarks/checkpoints.py
    python benchmarks/checkpoints.py --rows 1000000 --events 150000 --json FILE

Pauses: a learner that knows a million items and a million users (synthetic ids) trains on while checkpoints are copied
and written. Throughput: globo-news, if HSNN_DATA names a folder that holds it, else ml-100k, with a checkpoint every
50,000 events and without, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from evaluation.suited import suited
from hsnn.config import Config
from hsnn.embedded.redis import EmbeddedRedis
from streaming.columns import Batch, Engagements
from streaming.datasets import load
from streaming.redis_client import connect
from trainer import publisher as publishing
from trainer.checkpoint import CheckpointStore
from trainer.config import TrainerConfig
from trainer.learner import Learner
from trainer.outbox import Outbox
from trainer.publisher import Publisher

RESULTS = Path(__file__).parent / "results" / "checkpoints.json"
EVERY = 50_000
_BATCH, _NOW = 512, 1_700_000_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What checkpoints cost.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="items, and users")
    parser.add_argument("--events", type=int, default=150_000, help="per loop of the throughput")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: dict[str, Any] = {"cores": os.cpu_count(), "rows": options.rows, "pauses": pauses(options.rows)}
    found["throughput"] = throughput(options.events, options.rounds)
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(options.json.read_text("utf-8"))


def pauses(rows: int) -> list[dict[str, float]]:
    """A whole checkpoint, then two of what changed: pauses per step, seconds, bytes."""
    rng, learner = np.random.default_rng(0), Learner(TrainerConfig())
    for start in range(0, rows, 65_536):
        learner.items.rows([f"i{row}" for row in range(start, min(start + 65_536, rows))])
        learner.users.rows([f"u{row}" for row in range(start, min(start + 65_536, rows))])
    learner.reserve()
    with EmbeddedRedis() as server, tempfile.TemporaryDirectory() as folder:
        store, outbox = CheckpointStore(Path(folder), 3), _Silent(connect(server.url))
        publisher, found = Publisher(store, outbox, "digest"), []
        for _ in range(3):
            _teach(learner, rng, rows, 20)
            found.append(_watched(publisher, store, learner, rng, rows))
        publisher.close()
    return found


class _Noted:
    """Stands for the metric of pauses: what begins a copy, rescues rows before a step, and copies a slice after it."""

    def __init__(self, waits: list[float]) -> None:
        self.observe = waits.append


class _Silent(Outbox):
    """Hands nothing out: the snapshot is not what is measured."""

    def snapshot(self, snapshot: Any) -> None:
        """Do nothing."""


def _watched(
    publisher: Publisher, store: CheckpointStore, learner: Learner, rng: np.random.Generator, rows: int
) -> dict[str, float]:
    waits: list[float] = []
    began, steps = time.perf_counter(), 0
    publishing.CHECKPOINT_PAUSE = _Noted(waits)  # type: ignore[assignment]
    publisher.take(learner, {}, lambda: None, [])
    while publisher.busy:
        _teach(learner, rng, rows, 1)
        publisher.settle()
        steps += 1
    files = list((store.folder / store.names()[-1]).iterdir())
    new = sum(file.stat().st_size for file in files if file.stat().st_nlink == 1)
    return {
        "longest_pause_ms": 1000 * max(waits), "first_pause_ms": 1000 * waits[0],
        "paused_ms": 1000 * sum(waits), "steps_meanwhile": float(steps),
        "seconds": time.perf_counter() - began, "megabytes_written": new / 1e6,
        "megabytes": sum(file.stat().st_size for file in files) / 1e6,
    }  # fmt: skip


def _teach(learner: Learner, rng: np.random.Generator, rows: int, batches: int) -> None:
    for _ in range(batches):
        ts = np.full(_BATCH, _NOW + learner.events)
        user = [f"u{row}" for row in rng.integers(rows, size=_BATCH).tolist()]
        item = [f"i{row}" for row in rng.integers(rows, size=_BATCH).tolist()]
        value = np.full(_BATCH, np.nan, np.float32)
        events = Engagements(ts, ts, user, item, ["click"] * _BATCH, value, [None] * _BATCH)
        learner.train(learner.prepare(Batch(events, {}, int(ts[-1]))))


def throughput(events: int, rounds: int) -> dict[str, Any]:
    """Events per second without and with a checkpoint every 50,000 events, and their ratio."""
    name = "globo-news" if (Path(os.environ.get("HSNN_DATA", "")) / "globo-news").is_dir() else "ml-100k"
    data = load(name, limit=events)
    config, batches = suited(Config().trainer, data), list(data.batches(_BATCH))
    bare, kept = [], []
    with EmbeddedRedis() as server:
        redis = connect(server.url)
        for _ in range(rounds):
            bare.append(_rate(batches, config, None))
            with tempfile.TemporaryDirectory() as folder:
                kept.append(
                    _rate(batches, config, Publisher(CheckpointStore(Path(folder), 3), Outbox(redis), "digest"))
                )
    return {
        "data": name, "events": events, "every": EVERY, "without": bare, "with": kept,
        "ratio": float(np.mean(kept) / np.mean(bare)),
    }  # fmt: skip


def _rate(batches: Sequence[Batch], config: TrainerConfig, publisher: Publisher | None) -> float:
    learner, due = Learner(config), EVERY
    began = time.perf_counter()
    for batch in batches:
        learner.train(learner.prepare(batch))
        if publisher is not None:
            publisher.settle()
            if learner.events >= due:
                due += EVERY
                publisher.take(learner, {}, lambda: None, [])
    if publisher is not None:
        publisher.close()
    return learner.events / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
