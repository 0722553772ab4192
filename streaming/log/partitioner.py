"""Which partition a key belongs to: the same answer in every log, and the same as Kafka's own clients give."""

from __future__ import annotations

from functools import lru_cache
from itertools import count as counter

from hsnn.streaming.errors import AppendError
from hsnn.streaming.log.base import ProducerRecord

_MASK = 0xFFFFFFFF
_MIX = 0x5BD1E995
_SEED = 0x9747B28C


def murmur2(data: bytes) -> int:
    """MurmurHash2 as Kafka's Java client computes it, as an unsigned 32-bit number.

    Examples
    --------
    >>> murmur2(b"21"), murmur2(b"foobar")
    (3321034988, 3504634814)
    """
    whole = len(data) // 4 * 4
    state = _SEED ^ len(data)
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _MIX & _MASK
        word = (word ^ word >> 24) * _MIX & _MASK
        state = (state * _MIX & _MASK) ^ word
    if whole < len(data):
        state = (state ^ int.from_bytes(data[whole:], "little")) * _MIX & _MASK
    state = (state ^ state >> 13) * _MIX & _MASK
    return state ^ state >> 15


# Users come back: without the cache the hash, in Python, would cost more than the rest of sending a record.
@lru_cache(maxsize=262_144)
def partition_of(key: bytes, partitions: int) -> int:
    """Partition of `key` in a topic of so many partitions.

    Examples
    --------
    >>> partition_of(b"user-1", 4) == partition_of(b"user-1", 4)
    True
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


class Partitioner:
    """Chooses partitions for the records of one producer: the named one, else the key's, else each in turn."""

    def __init__(self) -> None:
        self._turn = counter()

    def choose(self, record: ProducerRecord, count: int) -> int:
        """Partition of `record` in a topic of `count`.

        Raises
        ------
        AppendError
            The record names a partition that does not exist.
        """
        if record.partition is not None:
            if not 0 <= record.partition < count:
                raise AppendError(f"partition {record.partition} does not exist: the topic has {count}")
            return record.partition
        return next(self._turn) % count if record.key is None else partition_of(record.key, count)
