"""Schedulers, server and Redis are killed at random while items come and go; the index must be whole at the end.

    make bench ARGS='kill'
    python -m benchmarks.kill --kills 100 --items 20000 --seed 0 --json FILE

Two schedulers compete for the lease; every fifth blow stops the leader past its lease, then lets it go on.
Redis keeps an append-only file. Exit status 1 if `verify` finds anything, the item map is not exactly the items that
live, or the server does not answer. Writes `results/kills.json`.
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

from benchmarks.churn.planted_data import World
from benchmarks.kill.feed import Feed
from benchmarks.kill.processes import LEASE_SECONDS, ROLES, Cast
from benchmarks.paths import RESULTS_FOLDER
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.verify.verify import verify
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.threads import use_threads

RESULTS = RESULTS_FOLDER / "kills.json"
_PAUSE_EVERY = 5
_SETTLE_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    use_threads(1)
    with tempfile.TemporaryDirectory(prefix="hsnn-kills-") as folder:
        cast = Cast(Path(folder))
        try:
            found = run(cast, options)
        finally:
            cast.end()
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))
    sys.exit(0 if found["whole"] else 1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill everything but the feed.")
    parser.add_argument("--kills", type=int, default=100, help="blows, kills and pauses together; 100")
    parser.add_argument("--items", type=int, default=20_000, help="alive at any moment; 20000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def run(cast: Cast, options: argparse.Namespace) -> dict[str, Any]:
    """Start, deal the blows, stop the feed, and look."""
    rng, began = np.random.default_rng(options.seed), time.monotonic()
    client = cast.start()
    feed = Feed(World(options.items, 100, options.seed), client, options.items)
    cast.wait()
    feed.start()
    for number in range(options.kills):
        _deal(cast, client, rng, pause=number % _PAUSE_EVERY == _PAUSE_EVERY - 1)
    feed.end()
    if feed.error is not None:
        raise feed.error
    cast.wait()
    reader = IndexReader(client)
    settled = _settled(reader, feed.alive)
    number = reader.current()
    assert number is not None
    report = verify(reader, number, patience=2.0)
    answers = cast.answers()
    return {
        "whole": report.clean and settled and answers,
        "kills": cast.kills,
        "pauses_past_the_lease": cast.pauses,
        "seconds": time.monotonic() - began,
        "items_announced": feed.sent,
        "snapshots": feed.snapshots,
        "version": number,
        "fencing_token": int(client.get(key("fence")) or 0),
        "damage": report.counts,
        "map_is_the_living_items": settled,
        "server_answers": answers,
    }


def _deal(cast: Cast, client: Redis, rng: np.random.Generator, *, pause: bool) -> None:
    """Wait a moment, then strike one that is up: to be paused, the leader."""
    time.sleep(rng.uniform(0.2, 1.2))
    deadline = time.monotonic() + _SETTLE_SECONDS
    if pause:
        while (leader := cast.leader(client)) is None and time.monotonic() < deadline:
            time.sleep(LEASE_SECONDS / 10)
        if leader is not None:
            cast.pause(leader)
        return
    up = cast.up()
    weights = [1.0 if name in ROLES else 0.5 for name in up]
    cast.kill(str(rng.choice(up, p=np.array(weights) / sum(weights))))


def _settled(reader: IndexReader, alive: set[str]) -> bool:
    """Whether the item map of the version in use becomes exactly the living items."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        if reader.item_nodes(reader.current() or 0).keys() == alive:
            return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    main()
