"""One trainer against several under torchrun, on one machine. Writes `results/workers.json`.

    make bench ARGS='parts.workers'
    python -m benchmarks.parts.workers --events 40000 --rounds 1 --json FILE

Every run is a real `hsnn train` on an embedded server, with one torch thread per process. ``batch`` is what one worker
reads per step: 256 by two workers is the step of 512 by one, 512 by two is a step of 1,024. Timed from the moment when
a tenth of the events are learned to that when nine tenths are, so that neither start nor end counts.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.paths import RESULTS_FOLDER, ROOT
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets import Dataset, load
from hsnn.streaming.log.open import open_log
from hsnn.streaming.producer.produce import produce
from hsnn.streaming.redis.client import Redis, connect
from hsnn.streaming.redis.keys import key

RESULTS = RESULTS_FOLDER / "workers.json"
RUNS = ((1, 512), (2, 256), (2, 512))
"""Workers, and interactions per batch of each."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="One trainer against several.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="every run so often, in turn; 3")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    name = "globo-news" if (Path(os.environ.get("HSNN_DATA", "")) / "globo-news").is_dir() else "ml-100k"
    data = load(name, limit=options.events)
    rates: dict[tuple[int, int], list[float]] = {run: [] for run in RUNS}
    for _ in range(options.rounds):
        for workers, batch in RUNS:
            rates[workers, batch].append(measured(data, workers, batch))
            print(workers, "workers, batch", batch, f"{rates[workers, batch][-1]:,.0f} events/s", flush=True)
    runs = [{"workers": w, "batch": b, "events_per_second": found} for (w, b), found in rates.items()]
    facts = {"data": name, "events": len(data), "cores": os.cpu_count(), "runs": runs}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")


def measured(data: Dataset, workers: int, batch: int) -> float:
    """Events per second of so many workers."""
    with EmbeddedRedis() as server, tempfile.TemporaryDirectory() as folder:
        log = open_log(server.url)
        produce(data, log, config=StreamingConfig(log=server.url))
        log.close()
        process = _start(server.url, workers, batch, folder)
        redis = connect(server.url)
        try:
            began = _reached(redis, process, len(data) // 10)
            ended = _reached(redis, process, 9 * len(data) // 10)
        finally:
            redis.close()
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    return (ended[1] - began[1]) / (ended[0] - began[0])


def _start(url: str, workers: int, batch: int, folder: str) -> subprocess.Popen[bytes]:
    keys: dict[str, Any] = {
        "streaming.log": url,
        "redis.url": url,
        "trainer.checkpoint_dir": folder,
        "streaming.batch_size": batch,
        "monitoring.trainer_port": 0,
        "trainer.threads": 1,
    }
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
    command = [sys.executable, *(torchrun if workers > 1 else []), "-m", "hsnn", "train"]
    options = [part for name, value in keys.items() for part in ("--set", f"{name}={value}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*command, *options], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _reached(redis: Redis, process: subprocess.Popen[bytes], events: int) -> tuple[float, int]:
    """Return when at least so many events were learned, and how many they were."""
    while process.poll() is None:
        trained = int(redis.hget(key("progress"), "trained") or 0)
        if trained >= events:
            return time.perf_counter(), trained
        time.sleep(0.02)
    raise RuntimeError(f"the trainer ended with {process.returncode} before {events} events were learned")


if __name__ == "__main__":
    main()
