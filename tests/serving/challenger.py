"""A second index of the same items, by a model for which users went elsewhere, published beside another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hsnn.indexer.store.delta import Delta
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import DEFAULT_PREFIX, key, use_prefix

if TYPE_CHECKING:
    from tests.serving.conftest import Plant

PREFIX = "challenger"

ARMS = {"own": {"share": 0.5}, "other": {"share": 0.5, "prefix": PREFIX}}
"""Two halves of the users, one for each index."""


def fill(plant: Plant) -> Plant:
    """Fill an empty plant with the items of the fixture `plant`; user ``u0`` has been in cluster 3, ``u1`` in 4, ..."""
    for cluster in range(6):
        for number in range(10):
            plant.add(f"c{cluster}-{number}", cluster, topic=f"c{cluster}", parity=number % 2)
    for cluster in range(6):
        for number in range(3):
            plant.engage(f"u{cluster}", f"c{(cluster + 3) % 6}-{number}")
    return plant


def write(plant: Plant, redis: Redis, shards: int = 1) -> int:
    """Write the next version under the prefix of the challenger, while nobody else uses keys; its number."""
    with _under_prefix():
        return plant.write(redis, shards=shards)


def flip(redis: Redis, number: int) -> None:
    """Let readers use a version of the challenger, which was written before."""
    current = redis.get(key("current", prefix=PREFIX))
    if current is not None:
        superseded = Delta("superseded", version=number)
        redis.xadd(key("deltas", int(current), prefix=PREFIX), {b"d": superseded.encode()})
    redis.set(key("current", prefix=PREFIX), number)


@contextmanager
def _under_prefix() -> Iterator[None]:
    use_prefix(PREFIX)
    try:
        yield
    finally:
        use_prefix(DEFAULT_PREFIX)
