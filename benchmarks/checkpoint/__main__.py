"""What checkpoints cost: pauses in training with large tables, and throughput. Writes `results/checkpoints.json`.

    make bench ARGS='checkpoint    # a million items and users; some 10 minutes and 8 GB of memory
    make bench ARGS='checkpoint --rows 100000 --events 100000'

Pauses: a learner trains on while checkpoints are copied, written and published to a real Redis; every wait of training
is counted. Throughput: the bare loop with and without a checkpoint every 50,000 events, in turn, on globo-news if
HSNN_DATA names a folder that holds it, else on ml-100k.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.checkpoint.large_learner import LargeLearner
from benchmarks.paths import RESULTS_FOLDER
from benchmarks.quality.variants import digest
from hsnn.config.schema import Config
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.streaming.datasets import Dataset, load
from hsnn.streaming.redis.client import connect
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.checkpoint.triggers import CheckpointTriggers
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.publish.publisher import Publisher
from hsnn.trainer.publish.redis_writer import RedisWriter
from hsnn.trainer.threads import use_threads
from hsnn.trainer.training.learner import Learner

RESULTS = RESULTS_FOLDER / "checkpoints.json"
# events between two checkpoints: five of them in a run
EVERY = 50_000
# runs with and without checkpoints, in turns: a median needs three
_ROUNDS = 3


def pauses(rows: int, url: str, folder: Path) -> list[dict[str, Any]]:
    """Take a whole checkpoint, one of what 50,000 events change, and one soon after; what each of them costs."""
    large, waits = LargeLearner(rows).settle(), list[float]()
    store = CheckpointStore(folder, 3)
    publisher = Publisher(store, RedisWriter(connect(url)), "", on_pause=waits.append)
    found = []
    for kind, events in (("whole", 0), ("changed rows", EVERY), ("changed rows", EVERY // 10)):
        start, alone = large.learner.events, list[float]()
        while large.learner.events < start + max(events, 5000):
            alone.append(large.step())
        waits.clear()
        found.append({"kind": kind, "steps_alone": _ms(alone)} | _one(large, publisher, store, waits))
        print(found[-1], flush=True)
    publisher.close()
    return found


def _one(large: LargeLearner, publisher: Publisher, store: CheckpointStore, waits: list[float]) -> dict[str, Any]:
    started, copied, steps, writing = time.perf_counter(), 0.0, list[float](), list[float]()
    publisher.begin_checkpoint(large.learner, {}, lambda: None, [])
    while publisher.busy:
        (steps if publisher.copying else writing).append(large.step())
        publisher.advance()
        copied = copied or (0.0 if publisher.copying else time.perf_counter() - started)
    seconds, files = time.perf_counter() - started, store.manifest(store.names()[-1])
    return {
        "longest_pause_ms": 1000 * max(waits),
        "pauses": len(waits),
        "waited_ms": 1000 * sum(waits),
        "copied_seconds": copied,
        "handed_out_seconds": seconds,
        "steps_while_copying": _ms(steps),
        "steps_while_writing": _ms(writing),
        "chain": [files.files[name].bytes for name in files.chain],
    }


def _ms(seconds: list[float]) -> dict[str, float]:
    return {"p50": 1000 * float(np.median(seconds or [0])), "p99": 1000 * float(np.quantile(seconds or [0], 0.99))}


def rate(data: Dataset, config: TrainerConfig, batch_size: int, publisher: Publisher | None) -> float:
    """Events per second of the bare loop, up to the last checkpoint's being published."""
    learner = Learner(config)
    triggers = CheckpointTriggers(config.model_copy(update={"checkpoint_events": EVERY}), 0, 0)
    start = time.perf_counter()
    for batch in data.batches(batch_size):
        learner.train(learner.prepare(batch))
        if publisher is not None:
            publisher.advance()
            if triggers.passed(learner.events, learner.watermark):
                publisher.begin_checkpoint(learner, {}, lambda: None, [])
    if publisher is not None:
        publisher.close()
    return learner.events / (time.perf_counter() - start)


def cost(name: str, events: int, url: str, folder: Path) -> dict[str, Any]:
    """Rates with and without checkpoints, in turn."""
    config, data = Config(), load(name, limit=events)
    trainer, size = config_for_dataset(config.trainer, data), config.streaming.batch_size
    found: dict[str, list[float]] = {"without": [], "with": []}
    for number in range(_ROUNDS):
        found["without"].append(rate(data, trainer, size, None))
        publisher = Publisher(CheckpointStore(folder / str(number), 3), RedisWriter(connect(url)), "")
        found["with"].append(rate(data, trainer, size, publisher))
        print({kind: rates[-1] for kind, rates in found.items()}, flush=True)
    ratio = float(np.median(found["with"]) / np.median(found["without"]))
    return {"data": name, "events": len(data.engagements), "every": EVERY, "events_per_second": found, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=250_000)
    options = parser.parse_args()
    use_threads(1)
    name = "globo-news" if (Path(os.environ.get("HSNN_DATA", "")) / "globo-news").is_dir() else "ml-100k"
    found: dict[str, Any] = {"cores": os.cpu_count(), "config": digest("default"), "rows": options.rows}
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis() as server:
        found["cost"] = cost(name, options.events, server.url, Path(folder))
        found["checkpoints"] = pauses(options.rows, server.url, Path(folder) / "large")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
