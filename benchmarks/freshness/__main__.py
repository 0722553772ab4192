"""Freshness under load: items arrive and expire at a fixed rate while the trainer learns and queries run.

    make bench ARGS='freshness'
    python -m benchmarks.freshness --items 2000 --engagements 2000 --queries 20 --seconds 90 --log redis

All roles are processes of their own, as in the demo, on an embedded server; this process produces, queries and probes.
Writes `results/freshness.json`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import redis

from benchmarks.freshness.probe import ItemProbe
from benchmarks.freshness.producer import ProducerThread
from benchmarks.freshness.query_load import QueryLoad
from benchmarks.paths import RESULTS_FOLDER
from hsnn.config.loader import load
from hsnn.demo.sandbox import Sandbox, ready
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import key

RESULTS = RESULTS_FOLDER / "freshness.json"
# items and engagements before the measurement, so that arrivals come to an index that is in use
BASE_ITEMS, BASE_ENGAGEMENTS = 5000, 20_000
# seconds after which half of the items expire
LIFE = 20.0
SETTINGS = ("trainer.snapshot_interval=30s", "trainer.prequential_share=0.005", "indexer.verify_interval=60s")
# seconds until the first version must be served
_READY_SECONDS = 120.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    stage = Sandbox(load(overrides=SETTINGS), options.log, None)
    try:
        print("starting redis, server, scheduler and trainer")
        stage.start()
        found = measured(stage, options)
    finally:
        stage.end()
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(options.json.read_text())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Freshness under load.")
    parser.add_argument("--items", type=float, default=2000.0, help="item events per second")
    parser.add_argument("--engagements", type=float, default=2000.0, help="engagements per second")
    parser.add_argument("--queries", type=float, default=20.0, help="queries per second, 100 items each")
    parser.add_argument("--seconds", type=float, default=90.0, help="measured, after the start")
    parser.add_argument("--log", choices=("redis", "kafka"), default="redis")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures there")
    return parser.parse_args(arguments)


def measured(stage: Sandbox, options: argparse.Namespace) -> dict[str, Any]:
    """Fill, wait for the first version, then measure."""
    config = stage.config.streaming
    source = ProducerThread(
        open_log(config.log), config, items=options.items, engagements=options.engagements, life=LIFE
    )
    source.fill(BASE_ITEMS, BASE_ENGAGEMENTS)
    client = connect(stage.redis_url)
    stage.roles.wait_until(lambda: bool(client.get(key("current"))), "the first version", _READY_SECONDS)
    stage.roles.wait_until(lambda: ready(stage.server), "the server to have loaded it", _READY_SECONDS)
    asker, watcher = QueryLoad(stage.server, source, options.queries), ItemProbe(stage.server, source)
    threads = (source, asker, watcher)
    before = _progress(client)
    began = time.monotonic()
    for thread in threads:
        thread.start()
    stage.roles.wait_until(lambda: time.monotonic() - began > options.seconds, "the end", options.seconds + 10)
    seconds = time.monotonic() - began
    after = _progress(client)
    for thread in reversed(threads):
        thread.end()
        if thread.error is not None:
            raise thread.error
    return {
        "cores": os.cpu_count(),
        "log": options.log,
        "seconds": seconds,
        "sent_per_second": {"items": len(source.sent_at) / seconds, "engagements": source.engagements / seconds},
        "source_late_seconds": source.late,
        "learned_per_second": (after["trained"] - before["trained"]) / seconds,
        "lag_records": after["lag_records"],
        "items_in_index": after["items"],
        "versions": int(client.zcard(key("versions"))),
        "arrival_seconds": _percentiles(watcher.arrival),
        "departure_seconds": _percentiles(watcher.departure),
        "lost": watcher.lost,
        "queries": len(asker.seconds),
        "query_seconds": _percentiles(asker.seconds),
        "items_returned": asker.items,
        "expired_returned": asker.expired,
    }


def _progress(client: redis.Redis) -> dict[str, float]:
    found: Any = client.hgetall(key("progress"))
    return {name: float(found.get(name.encode(), 0)) for name in ("trained", "lag_records", "items")}


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "count": len(seconds),
        **{f"p{share}": float(np.percentile(seconds, share)) for share in (50, 90, 99, 100) if len(seconds)},
    }


if __name__ == "__main__":
    main()
