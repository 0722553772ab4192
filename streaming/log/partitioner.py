"""The partition of a key: the same in every log, and the same as in Kafka's own clients."""

from __future__ import annotations

from functools import lru_cache
from itertools import count as counter

from hsnn.streaming.errors import AppendError
from hsnn.streaming.log.base import ProducerRecord

# MurmurHash2 works on unsigned 32-bit numbers; multiplier and seed are those of Kafka's Java client.
_MASK, _MULTIPLIER, _SEED = 0xFFFFFFFF, 0x5BD1E995, 0x9747B28C

# Kafka clears the sign bit of the hash, which is a signed number in Java, before it takes the remainder.
_POSITIVE = 0x7FFFFFFF


def murmur2(data: bytes) -> int:
    """Compute MurmurHash2 as Kafka's Java client does, as an unsigned 32-bit number.

    Examples
    --------
    >>> murmur2(b"21"), murmur2(b"foobar")
    (3321034988, 3504634814)
    """
    whole = len(data) // 4 * 4
    state = _SEED ^ len(data)
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        state = (state * _MULTIPLIER & _MASK) ^ word
    if whole < len(data):
        state = (state ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    state = (state ^ state >> 13) * _MULTIPLIER & _MASK
    return state ^ state >> 15


# The keys are users, who recur: without the cache the hash, in Python, would cost more than the rest of an append.
@lru_cache(maxsize=262_144)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key` in a topic of `partitions` partitions.

    Examples
    --------
    >>> partition_of(b"user-1", 4) == partition_of(b"user-1", 4)
    True
    """
    return (murmur2(key) & _POSITIVE) % partitions


class Partitioner:
    """Chooses partitions for the records of one producer: the given one, else the key's, else round robin."""

    def __init__(self) -> None:
        self._round_robin = counter()

    def choose(self, record: ProducerRecord, count: int) -> int:
        """Return the partition of `record` in a topic of `count` partitions.

        Raises
        ------
        AppendError
            The record has a partition that does not exist.
        """
        if record.partition is not None:
            if not 0 <= record.partition < count:
                raise AppendError(f"partition {record.partition} does not exist: the topic has {count}")
            return record.partition
        return next(self._round_robin) % count if record.key is None else partition_of(record.key, count)
