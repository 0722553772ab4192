"""Where the loop's batches come from: this worker's own consumer, or all workers' consumers, joined in step.

A turn is **settled** when no worker is between two batches of its own: everything that was read is learned once the
turn's batch is, so what the consumers stand at belongs to the model as it is then. A worker that has not read enough
for its next batch lets all others wait; one that has read everything takes part without a batch. So on a log that is
complete the batches are the same ones in every run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.rescale import pack_states
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.distributed.batch_codec import decode_batch, encode_batch
from hsnn.trainer.distributed.merge_batches import merge_batches
from hsnn.trainer.distributed.process_group import DivergedWorkersError, ProcessGroup

_NAP = 0.05
"""Longest wait, in seconds, of a worker that has read everything."""

_LAG_EVERY = 1.0


class BatchRound(NamedTuple):
    """One turn of the loop: a batch, if there is one; whether it settles what was read; whether it is the last."""

    batch: Batch | None
    aligned: bool = True
    stop: bool = False


class BatchSource(Protocol):
    """What the loop asks for batches, and what hangs on them."""

    def next_round(self, timeout: float, *, stop: bool) -> BatchRound:
        """Take the next turn, which may be without a batch after `timeout` seconds; `stop` asks for the last one."""

    def broadcast_decision(self, due: bool) -> bool:
        """Whether the first worker finds it `due`; to be asked after settled turns."""

    def state_dict(self) -> dict[str, Any]:
        """State of the consumers, for the checkpoint; to be asked after settled turns."""

    def deferred_state_dict(self) -> Callable[[], dict[str, Any]]:
        """Note the same without making values of it: the call of what is returned does, in any thread."""

    def lag(self) -> tuple[int, float]:
        """Count the records that were not delivered yet, and the seconds since the oldest of them was sent."""

    def lost_records(self) -> dict[str, int]:
        """Count the records of each topic that were gone before they were read."""

    @property
    def pending(self) -> int:
        """Impressions that wait."""


class LocalBatchSource:
    """Of a trainer that is alone."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def next_round(self, timeout: float, *, stop: bool) -> BatchRound:
        """Take the consumer's next batch."""
        return BatchRound(None, stop=True) if stop else BatchRound(self._consumer.next_batch(timeout))

    def broadcast_decision(self, due: bool) -> bool:
        """Return what was asked: there is nobody else."""
        return due

    def state_dict(self) -> dict[str, Any]:
        """State of the consumer."""
        return self._consumer.state_dict()

    def deferred_state_dict(self) -> Callable[[], dict[str, Any]]:
        """Freeze the consumer's own."""
        return self._consumer.capture_state()

    def lag(self) -> tuple[int, float]:
        """Return the consumer's own."""
        return self._consumer.lag()

    def lost_records(self) -> dict[str, int]:
        """Return the consumer's own."""
        return self._consumer.counts.lost

    @property
    def pending(self) -> int:
        """Impressions that wait."""
        return self._consumer.pending


class _Has(IntEnum):
    """What a worker brings to a turn."""

    NOTHING = 0
    NOT_YET = 1
    BATCH = 2


class _Note(IntEnum):
    """Columns of what workers tell each other first; what was lost of each topic follows."""

    HAS = 0
    LENGTH = 1
    STOP = 2
    FINGERPRINT = 3
    PENDING = 4
    LAG = 5
    LAG_MS = 6


class DistributedBatchSource:
    """Of several workers: every one gets the same batch, made of one of each.

    Raises
    ------
    LostWorkerError
        Another worker is gone.
    DivergedWorkersError
        The last step was not the same in all workers.
    """

    def __init__(self, consumer: Consumer, world: ProcessGroup) -> None:
        self._consumer, self._world = consumer, world
        self._held: bytes | None = None
        self._busy = False
        self._topics = sorted(consumer.topics)
        self._notes = np.zeros((world.size, len(_Note) + len(self._topics)), np.int64)
        self._lag, self._lag_at = (0, 0.0), -_LAG_EVERY

    def next_round(self, timeout: float, *, stop: bool) -> BatchRound:
        """Join what all workers have."""
        self._fetch(timeout)
        notes = self._compare(stop)
        if (notes[:, _Note.HAS] == _Has.NOT_YET).any():
            return BatchRound(None, aligned=False)
        last, lengths = bool(notes[:, _Note.STOP].any()), notes[:, _Note.LENGTH]
        self._busy = bool(lengths.any())
        if not self._busy:
            return BatchRound(None, stop=last)
        blobs = self._world.all_gather_padded(self._held or b"", lengths.tolist())
        self._held = None
        batches = {rank: decode_batch(blob) for rank, blob in enumerate(blobs) if blob}
        commands = (
            batches[0].control if 0 in batches else ()
        )  # all hear them; the first worker's place in the log counts
        return BatchRound(
            replace(merge_batches([*batches.values()]), pending=self.pending, control=commands), stop=last
        )

    def _fetch(self, timeout: float) -> None:
        """Have a batch ready, unless there is nothing to read; while others are busy nobody waits for that."""
        if self._held is None:
            idle = self._consumer.idle
            batch = self._consumer.next_batch((0.0 if self._busy else min(timeout, _NAP)) if idle else timeout)
            self._held = None if batch is None else encode_batch(batch)

    def _compare(self, stop: bool) -> NDArray[np.int64]:
        has = _Has.BATCH if self._held else _Has.NOTHING if self._consumer.idle else _Has.NOT_YET
        if stop or time.monotonic() - self._lag_at >= _LAG_EVERY:
            self._lag, self._lag_at = self._consumer.lag(), time.monotonic()
        lag, lost = (self._lag[0], int(1000 * self._lag[1])), self._consumer.counts.lost
        own = [has, len(self._held or b""), stop, self._world.fingerprint, self._consumer.pending, *lag]
        self._notes = self._world.all_gather_ints(own + [lost.get(topic, 0) for topic in self._topics])
        if len(apart := np.flatnonzero(self._notes[:, _Note.FINGERPRINT] != self._notes[0, _Note.FINGERPRINT])):
            raise DivergedWorkersError(
                f"worker {apart[0]} has not made the same last step as worker 0; all workers need the same program, "
                "packages and kind of processor: put that right and start again, from the newest checkpoint"
            )
        return self._notes

    def broadcast_decision(self, due: bool) -> bool:
        """Whether the first worker finds it `due`."""
        return bool(self._world.broadcast_int(int(due)))

    def state_dict(self) -> dict[str, Any]:
        """States of all consumers, as `hsnn.streaming.consumer.rescale` packs them."""
        blobs = self._world.all_gather_bytes(msgspec.msgpack.encode(self._consumer.state_dict()))
        return pack_states([msgspec.msgpack.decode(blob) for blob in blobs])

    def deferred_state_dict(self) -> Callable[[], dict[str, Any]]:
        """Gather the states now: all workers are here for it."""
        state = self.state_dict()
        return lambda: state

    def lag(self) -> tuple[int, float]:
        """Return the sum and the longest of all, as they were some time ago."""
        return int(self._notes[:, _Note.LAG].sum()), int(self._notes[:, _Note.LAG_MS].max()) / 1000

    def lost_records(self) -> dict[str, int]:
        """Return the sums of all."""
        lost = self._notes[:, len(_Note) :].sum(0).tolist()
        return {topic: count for topic, count in zip(self._topics, lost, strict=True) if count}

    @property
    def pending(self) -> int:
        """Impressions that wait, in all workers."""
        return int(self._notes[:, _Note.PENDING].sum())


def make_batch_source(consumer: Consumer, world: ProcessGroup | None) -> BatchSource:
    """Return the turns of a worker, alone or not."""
    return LocalBatchSource(consumer) if world is None else DistributedBatchSource(consumer, world)
