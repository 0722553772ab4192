"""Peak memory of trainer, Redis, scheduler and server for a snapshot of N items and N users, and its version.

    python -m benchmarks.publish.large --rows 2000000 --json FILE
    python -m benchmarks.publish.large --rows 5000000 --roles write read

Each role is a process of its own: `write` publishes as the trainer does, from the arrays of a checkpoint's copy; `read`
reads the snapshot; `build` makes a version and flips to it; `load` reads that into a mirror. Synthetic rows, each user
with 20 remembered items, model without pair features.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from benchmarks.churn.memory import resident
from benchmarks.churn.planted_data import NOW, PlantedData
from benchmarks.paths import RESULTS_FOLDER
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.writer import IndexStore
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.redis.client import connect
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.publish.redis_writer import RedisWriter
from hsnn.trainer.publish.snapshot_encoder import SnapshotEncoder
from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.byte_strings import ByteStrings, byte_string_arrays
from hsnn.trainer.rowstore.table import TableKind, served_columns
from hsnn.trainer.threads import use_threads
from hsnn.trainer.training.learner import Learner

# Remembered items of each user, and bytes of each.
_REMEMBERED, _ENTRY = 20, 11


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=positive, nargs="+", default=[2_000_000], help="items, and users; 2,000,000")
    parser.add_argument("--json", type=Path, default=RESULTS_FOLDER / "large.json", help="write the figures there")
    parser.add_argument("--roles", choices=sorted(_ROLES), nargs="+", default=["write", "read", "build", "load"])
    parser.add_argument("--role", choices=sorted(_ROLES), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    use_threads(1)
    if options.role:
        print(json.dumps(_ROLES[options.role](options.url, options.rows[0])))
        return
    found: dict[str, Any] = {}
    for rows in options.rows:
        found[str(rows)] = measured(rows, options.roles)
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(options.json.read_text("utf-8"))


def measured(rows: int, roles: Sequence[str]) -> dict[str, Any]:
    """Figures of one size: of each process seconds, bytes before its work and bytes at its peak."""
    found: dict[str, Any] = {}
    with EmbeddedRedis() as server:
        redis = connect(server.url)
        for role in roles:
            command = [sys.executable, "-m", "benchmarks.publish.large"]
            command += ["--role", role, "--url", server.url, "--rows", str(rows)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[role] = json.loads(done.stdout.splitlines()[-1])
            found[role]["redis"] = redis.info("memory")["used_memory"]
        found["redis_peak"] = redis.info("memory")["used_memory_peak"]
        found["largest_value"] = max(redis.strlen(name) for name in redis.scan_iter("*:chunk:*"))
    return found


def write(url: str, rows: int) -> dict[str, Any]:
    """Publish a snapshot from arrays in memory."""
    writer = RedisWriter(connect(url))
    encoder = synthetic_snapshot(rows, writer)
    return _timed(lambda: writer.write_snapshot(encoder))


def read(url: str, rows: int) -> dict[str, Any]:
    """Read the newest snapshot, as the scheduler does first."""
    store = IndexStore(connect(url, socket_timeout=600))
    newest = store.newest_snapshot()
    assert newest is not None
    found = _timed(lambda: store.load_snapshot(newest.snapshot))
    return found | {"rows": rows}


def build(url: str, rows: int) -> dict[str, Any]:
    """Make a version of the newest snapshot, and flip to it."""
    redis = connect(url, socket_timeout=600)
    lease = Lease(redis, 3600)
    assert lease.acquire()
    store = IndexStore(redis, lease)
    newest = store.newest_snapshot()
    assert newest is not None

    def publish() -> None:
        draft = Builder(store).build_draft(newest.snapshot, "benchmark")
        draft.publish(None)
        assert draft.manifest.items == rows

    return _timed(publish)


def load(url: str, rows: int) -> dict[str, Any]:
    """Load the current version into a mirror."""
    reader, mirror = IndexReader(connect(url, socket_timeout=600)), Mirror()

    def read() -> None:
        number = reader.current()
        assert number is not None
        mirror.load_version(reader.load_version(number))

    found = _timed(read)
    assert mirror.is_indexed(_item(rows - 1))
    return found


def synthetic_snapshot(rows: int, writer: RedisWriter) -> SnapshotEncoder:
    """Make the arrays of `rows` items and users, and an encoder of them."""
    world = PlantedData(10_000, 10, seed=0)
    block = world.new_items(10_000, 0.0)
    world.fit(block.vectors)
    source = {"snapshot": writer.next_snapshot(), "epoch": writer.epoch, "checkpoint": "synthetic"}
    small = world.snapshot(source | {"state_id": "0-0", "feed_id": "0-0"}, block, np.zeros(10_000, np.bool_))
    tables = Learner(TrainerConfig(model=world.config)).tables
    arrays: dict[str, Array] = {f"network.monn.{name}": array for name, array in small.model.items()}
    for name, short in (("content", "content"), ("features", "features")):
        arrays[f"network.{name}.weight"] = arrays.pop(f"network.monn.{short}")
    columns = {column: array for table in tables for column, array in table.columns().items()}
    for kind, given in ((TableKind.ITEM, small.items), (TableKind.USER, small.users)):
        for name, column in served_columns(tables, kind).items():
            shape = given[name].shape[1:] if name in given else columns[column].shape[1:] if column in columns else ()
            dtype = given[name].dtype if name in given else columns[column].dtype if column in columns else np.int64
            arrays[column] = np.zeros((rows, *shape), dtype)
    rng, item, user = (
        np.random.default_rng(0),
        *(served_columns(tables, kind) for kind in (TableKind.ITEM, TableKind.USER)),
    )
    arrays[item["tokens"]] = rng.integers(0, world.config.buckets, arrays[item["tokens"]].shape, np.int32)
    arrays[item["last"]][:] = arrays[item["first"]][:] = NOW
    arrays[user["items"]] = rng.integers(0, rows, arrays[user["items"]].shape, np.int32)
    arrays[user["memory"]] = rng.integers(0, 2, (rows * _REMEMBERED, _ENTRY), np.uint8)
    arrays[user["memory_lengths"]] = np.full(rows, _REMEMBERED, np.int32)
    for part, name in (("items", _item), ("users", _user)):
        texts = ByteStrings.from_list([name(row).encode() for row in range(rows)])
        arrays |= byte_string_arrays(f"{part}.ids.texts", texts)
    arrays |= byte_string_arrays("items.features", ByteStrings(np.full(rows, 0x80, np.uint8), np.ones(rows, np.int32)))
    arrays |= {f"row_recycling.{name}": array for name, array in _nothing_recycled().items()}
    return SnapshotEncoder(small.manifest, arrays, tables)


def _nothing_recycled() -> dict[str, Array]:
    """The arrays of rows to be reused of a new learner."""
    arrays, prefix = Learner(TrainerConfig()).state_dict()[0], "row_recycling."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _item(row: int) -> str:
    return f"item-{row:08d}"


def _user(row: int) -> str:
    return f"user-{row:08d}"


def _timed(call: Any) -> dict[str, Any]:
    before, started = resident(), time.perf_counter()
    call()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": time.perf_counter() - started, "before": before, "peak": peak, "after": resident()}


_ROLES = {"write": write, "read": read, "build": build, "load": load}

if __name__ == "__main__":
    main()
