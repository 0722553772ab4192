"""What the parts cost on this machine, alone. Writes `results/speed.json`.

    make bench ARGS='parts.speed'

Training: the learner on pre-decoded batches (`benchmarks.pipeline` feeds it from logs). Retrieval: one user at a
time against a mirror of the trained index. On ml-100k, a slow stream (small steps, replay), and on globo-news, a fast
one, if HSNN_DATA names a folder that holds it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.paths import RESULTS_FOLDER
from benchmarks.quality.variants import digest
from hsnn.config.schema import Config
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.schema import Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.streaming.datasets import Dataset, load
from hsnn.trainer.threads import use_threads
from hsnn.trainer.training.learner import Learner

RESULTS = RESULTS_FOLDER / "speed.json"
SETS = {"ml-100k": 60_000, "globo-news": 150_000}
# requests that are timed
REQUESTS = 1000


def training(data: Dataset, config: Config, threads: int) -> float:
    """Events per second of the bare loop."""
    use_threads(threads)
    learner = Learner(config.trainer)
    start = time.perf_counter()
    for batch in data.batches(config.streaming.batch_size):
        learner.train(learner.prepare(batch))
    return learner.events / (time.perf_counter() - start)


def retrieval(data: Dataset, config: Config) -> dict[str, dict[str, float]]:
    """Milliseconds per request by mode, one user at a time, one thread: p50 and p99."""
    use_threads(1)
    system = OfflineSystem(config.trainer, 600.0, 2048)
    for batch in data.batches(config.streaming.batch_size):
        system.learn(system.prepare(batch))
    users = data.engagements.user[-REQUESTS:]
    found = {}
    for mode in ("beam", "exhaustive", "popularity"):
        times = []
        for user in users:
            start = time.perf_counter()
            retrieve(system.mirror, [Request(user=user, k=50, mode=mode)], RetrievalLimits())
            times.append(1000 * (time.perf_counter() - start))
        found[mode] = {"p50": float(np.percentile(times, 50)), "p99": float(np.percentile(times, 99))}
    return found | {"corpus": {"items": float(system.mirror.state.corpus)}}


def measured(data: Dataset, config: Config) -> dict[str, Any]:
    """All figures of one data set."""
    config = config.model_copy(update={"trainer": config_for_dataset(config.trainer, data)})
    bare = {f"threads_{threads}": training(data, config, threads) for threads in (1, 2)}
    return {
        "events": len(data.engagements),
        "training_events_per_second": bare,
        "retrieval_milliseconds": retrieval(data, config),
    }


def main() -> None:
    config, folder = Config(), Path(os.environ.get("HSNN_DATA", ""))
    found: dict[str, Any] = {"cores": os.cpu_count(), "config": digest("default"), "sets": {}}
    for name, events in SETS.items():
        if name == "ml-100k" or (folder / name).is_dir():
            found["sets"][name] = measured(load(name, limit=events), config)
        else:
            print(f"{name}: left out, HSNN_DATA names no folder that holds it")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
