"""What a killed trainer leaves behind: half-written files, which are damaged, and promises, which are checked."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hsnn.streaming.log.base import EventLog
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.checkpoint.store import Checkpoint, CheckpointStore
from hsnn.trainer.messages import SnapshotManifest
from hsnn.trainer.snapshot_chunks import remove_snapshot


def truncate_partial_file(folder: Path, kept: float) -> bool:
    """Cut the file that was being written aside to a share of its size; whether there was one.

    The kernel keeps what a killed process wrote; a machine that loses its power does not.
    """
    aside = [path for top in folder.glob(".*") for path in top.rglob("*") if path.is_file()]
    if not aside:
        return False
    newest = max(aside, key=lambda path: path.stat().st_mtime_ns)
    with newest.open("r+b") as file:
        file.truncate(int(kept * newest.stat().st_size))
    return True


def premature_announcements(folder: Path, redis: Redis, log: EventLog, group: str) -> list[str]:
    """Say what was announced before it was durable: snapshots without their checkpoint, positions ahead of it."""
    store = CheckpointStore(folder, kept=1)
    names, newest = store.names(), store.newest()
    found = [] if newest is None or newest.name == names[-1] else [f"{names[-1]} is damaged by a mere kill"]
    announced = _announced(redis)
    if announced and announced > (names[-1] if names else ""):
        found.append(f"a snapshot of {announced} is announced, the newest checkpoint is {names[-1:]}")
    return found + _ahead(newest, log, group)


def _announced(redis: Redis) -> str:
    """Checkpoint of the newest snapshot that was published."""
    newest = redis.xrevrange(key("snapshots"), count=1)
    if not newest:
        return ""
    number = int(newest[0][1][b"n"])
    manifest = msgspec.json.decode(redis.hget(key("snapshot", number), "manifest"), type=SnapshotManifest)
    return manifest.checkpoint


def _ahead(newest: Checkpoint | None, log: EventLog, group: str) -> list[str]:
    places = [] if newest is None else newest.values["consumer"]["places"]
    saved = {(topic, partition): offset for topic, partition, offset, *_ in places}
    topics = {topic for topic, _ in saved} or {"engagements"}
    partitions = [(topic, number) for topic in sorted(topics) for number in log.partitions(topic)]
    committed = log.committed(group, partitions)
    return [
        f"{topic}/{number} is committed up to {offset}, the newest checkpoint stands at {saved.get((topic, number), 0)}"
        for (topic, number), offset in committed.items()
        if offset > saved.get((topic, number), 0)
    ]


def trim_streams(redis: Redis) -> None:
    """Remove what no reader needs any more, as the scheduler does: old snapshots and stream entries."""
    numbers = sorted(int(fields[b"n"]) for _, fields in redis.xrange(key("snapshots")))
    for number in numbers[:-1]:
        remove_snapshot(redis, number)
    for stream in ("snapshots", "state", "feed"):
        redis.xtrim(key(stream), maxlen=1, approximate=False)
