"""The write phase against what pipelines of the same commands reach when everything to be sent lies ready."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from benchmarks.publish.version import Publication
from hsnn.indexer.store import bulk_load
from hsnn.indexer.store.writer import IndexStore
from hsnn.streaming.redis.keys import key

# runs: a median needs three
_RUNS = 3


def compared(publication: Publication, store: IndexStore) -> dict[str, Any]:
    """Seconds of both, the better of them once warm and in turns, and their ratio."""
    made, base, items = publication.manifest, publication.base, publication.items
    batches, sent = _ready(
        list(bulk_load.version_commands(made.version, base, items, shards=len(made.shards), chunk=5000))
    )
    fields: dict[Any, Any] = {**base.encode(), b"version": msgspec.json.encode(made)}
    name = store.key("version", made.version)

    def raw() -> None:
        store.redis.copy(key("snapshot", made.snapshot), name, replace=True)
        for batch in batches:
            pipeline = store.redis.pipeline(transaction=False)
            for command in batch:
                pipeline.execute_command(*command)
            pipeline.execute()
        store.redis.hset(name, mapping=fields)

    ours, theirs = [], []
    for _ in range(_RUNS):
        ours.append(_timed(lambda: store.write_unpublished(made, base, items)))
        theirs.append(_timed(raw))
    seconds = {"ours": statistics.median(ours), "raw": statistics.median(theirs)}
    return seconds | {
        "share": seconds["raw"] / seconds["ours"],
        "commands": sum(map(len, batches)),
        "megabytes": sent / 1e6,
        "runs": {"ours": ours, "raw": theirs},
    }


def _ready(commands: Iterable[tuple[bulk_load.Command, int]]) -> tuple[list[list[bulk_load.Command]], int]:
    """Commands in the batches in which they are sent, and their bytes together."""
    batches: list[list[bulk_load.Command]] = [[]]
    waiting = total = 0
    for command, size in commands:
        batches[-1].append(command)
        total += sum(len(part) if isinstance(part, bytes | str) else 8 for part in command)
        waiting += size
        if waiting >= bulk_load.PIPELINE_BYTES:
            batches.append([])
            waiting = 0
    return batches, total


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
