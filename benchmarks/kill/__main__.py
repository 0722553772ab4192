"""Kill schedulers, server and Redis at random while items arrive and expire; the index must be consistent at the end.

    make bench ARGS='kill'
    python -m benchmarks.kill --kills 100 --items 20000 --seed 0 --json FILE

Two schedulers compete for the lease; every fifth disruption stops the leader past its lease, then lets it go on.
Redis keeps an append-only file. Exit status 1 if `verify` finds anything, the item map is not exactly the living
items, or the server does not answer. Writes `results/kills.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.churn.planted_data import PlantedData
from benchmarks.kill.feed import FeedThread
from benchmarks.kill.processes import LEASE_SECONDS, ROLES, Processes
from benchmarks.paths import RESULTS_FOLDER
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.verify.verify import verify
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.threads import use_threads

RESULTS = RESULTS_FOLDER / "kills.json"
# every so many disruptions are a pause of the leader instead of a kill
_PAUSE_EVERY = 5
# seconds that the index may take to become what it must be
_CONVERGE_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    use_threads(1)
    with tempfile.TemporaryDirectory(prefix="hsnn-kills-") as folder:
        processes = Processes(Path(folder))
        try:
            found = run(processes, options)
        finally:
            processes.end()
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))
    sys.exit(0 if found["whole"] else 1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill schedulers, server and Redis at random.")
    parser.add_argument("--kills", type=int, default=100, help="disruptions, kills and pauses together; 100")
    parser.add_argument("--items", type=int, default=20_000, help="alive at any moment; 20000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def run(processes: Processes, options: argparse.Namespace) -> dict[str, Any]:
    """Start all, disrupt them while the feed runs, then verify the index."""
    rng, began = np.random.default_rng(options.seed), time.monotonic()
    client = processes.start()
    feed = FeedThread(PlantedData(options.items, 100, options.seed), client, options.items)
    processes.wait()
    feed.start()
    for number in range(options.kills):
        _disrupt(processes, client, rng, pause=number % _PAUSE_EVERY == _PAUSE_EVERY - 1)
    feed.end()
    if feed.error is not None:
        raise feed.error
    processes.wait()
    reader = IndexReader(client)
    converged = _map_becomes(reader, feed.alive)
    number = reader.current()
    assert number is not None
    report = verify(reader, number, recheck_after=2.0)
    answers = processes.server_answers()
    return {
        "whole": report.clean and converged and answers,
        "kills": processes.kills,
        "pauses_past_the_lease": processes.pauses,
        "seconds": time.monotonic() - began,
        "items_announced": feed.sent,
        "snapshots": feed.snapshots,
        "version": number,
        "fencing_token": int(client.get(key("fence")) or 0),
        "damage": report.counts,
        "map_is_the_living_items": converged,
        "server_answers": answers,
    }


def _disrupt(processes: Processes, client: Redis, rng: np.random.Generator, *, pause: bool) -> None:
    """Wait a moment, then kill a process that is up, or pause the leader."""
    time.sleep(rng.uniform(0.2, 1.2))
    deadline = time.monotonic() + _CONVERGE_SECONDS
    if pause:
        while (leader := processes.leader(client)) is None and time.monotonic() < deadline:
            time.sleep(LEASE_SECONDS / 10)
        if leader is not None:
            processes.pause(leader)
        return
    up = processes.up()
    weights = [1.0 if name in ROLES else 0.5 for name in up]
    processes.kill(str(rng.choice(up, p=np.array(weights) / sum(weights))))


def _map_becomes(reader: IndexReader, alive: set[str]) -> bool:
    """Whether the item map of the version in use becomes exactly the living items."""
    deadline = time.monotonic() + _CONVERGE_SECONDS
    while time.monotonic() < deadline:
        if reader.item_nodes(reader.current() or 0).keys() == alive:
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    main()
