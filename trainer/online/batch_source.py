"""Sources of batches for the training loop: this worker's consumer, or the consumers of all workers in lockstep.

A round is **aligned** when no worker has read part of a next batch: once the round's batch is trained, everything that
was read is trained, so that the consumers' positions match the model's state and a checkpoint may be taken. A worker
that has not read enough for its next batch makes all others wait; one that has read everything takes part without a
batch. So the batches of a complete log are the same in every run.
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

from hsnn.streaming.consumer.consumer import Consumer, WindowSizes
from hsnn.streaming.consumer.rescale import pack_states
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.distributed.batch_codec import decode_batch, encode_batch
from hsnn.trainer.distributed.merge_batches import merge_batches
from hsnn.trainer.distributed.process_group import DivergedWorkersError, ProcessGroup

# Longest wait, in seconds, of a worker that has read everything: the others wait for it at the end of the round.
_IDLE_POLL_SECONDS = 0.05

# Seconds between two measurements of the lag, each of which asks the log for its end.
_LAG_EVERY = 1.0


class BatchRound(NamedTuple):
    """One round of the loop: a batch, if there is one; whether the round is aligned; whether it is the last."""

    batch: Batch | None
    aligned: bool = True
    stop: bool = False


class BatchSource(Protocol):
    """Batches for the training loop, and the state of the consumers behind them."""

    def next_round(self, timeout: float, *, stop: bool) -> BatchRound:
        """Return the next round, without a batch if none comes in `timeout` seconds; `stop` asks for the last."""

    def broadcast_decision(self, due: bool) -> bool:
        """Return `due` of the first worker, in all workers; to be called after aligned rounds only."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the consumers, for the checkpoint; to be called after aligned rounds only."""

    def deferred_state_dict(self) -> Callable[[], dict[str, Any]]:
        """Capture the state now; the returned function builds its values later, in any thread."""

    def lag(self) -> tuple[int, float]:
        """Return the number of records not delivered yet, and the seconds since the oldest of them was sent."""

    def lost_records(self) -> dict[str, int]:
        """Return the number of records per topic that the log deleted before they were read."""

    def window_sizes(self) -> WindowSizes:
        """Return how much is remembered to join impressions and to find duplicates."""

    @property
    def pending(self) -> int:
        """Impressions that wait for labels."""


class LocalBatchSource:
    """Batches of the consumer of a single worker."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def next_round(self, timeout: float, *, stop: bool) -> BatchRound:
        """Return a round with the consumer's next batch."""
        return BatchRound(None, stop=True) if stop else BatchRound(self._consumer.next_batch(timeout))

    def broadcast_decision(self, due: bool) -> bool:
        """Return `due`: there is no other worker."""
        return due

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the consumer."""
        return self._consumer.state_dict()

    def deferred_state_dict(self) -> Callable[[], dict[str, Any]]:
        """Capture the state of the consumer."""
        return self._consumer.deferred_state_dict()

    def lag(self) -> tuple[int, float]:
        """Return the value of the consumer."""
        return self._consumer.lag()

    def lost_records(self) -> dict[str, int]:
        """Return the value of the consumer."""
        return self._consumer.counts.lost

    def window_sizes(self) -> WindowSizes:
        """Return the value of the consumer."""
        return self._consumer.window_sizes()

    @property
    def pending(self) -> int:
        """Impressions that wait for labels."""
        return self._consumer.pending


class _Supply(IntEnum):
    """What a worker has for a round."""

    NOTHING = 0
    INCOMPLETE = 1
    BATCH = 2


class _Status(IntEnum):
    """Columns of the status that workers exchange first; window sizes, and the lost records of each topic, follow."""

    SUPPLY = 0
    LENGTH = 1
    STOP = 2
    FINGERPRINT = 3
    PENDING = 4
    LAG = 5
    LAG_MS = 6


# First column of the status that is not of a fixed meaning: the lost records, by topic.
_LOST = len(_Status) + len(WindowSizes._fields)


class DistributedBatchSource:
    """Batches merged from the consumers of several workers; every worker gets the same one.

    Raises
    ------
    LostWorkerError
        Another worker has failed or does not answer.
    DivergedWorkersError
        The last step differed between workers.
    """

    def __init__(self, consumer: Consumer, world: ProcessGroup) -> None:
        self._consumer, self._world = consumer, world
        self._encoded: bytes | None = None
        self._busy = False
        self._topics = sorted(consumer.topics)
        self._statuses = np.zeros((world.size, _LOST + len(self._topics)), np.int64)
        self._lag, self._lag_at = (0, 0.0), -_LAG_EVERY
        self._sizes = WindowSizes()

    def next_round(self, timeout: float, *, stop: bool) -> BatchRound:
        """Exchange and merge the batches of all workers."""
        self._fetch(timeout)
        statuses = self._compare(stop)
        if (statuses[:, _Status.SUPPLY] == _Supply.INCOMPLETE).any():
            return BatchRound(None, aligned=False)
        last, lengths = bool(statuses[:, _Status.STOP].any()), statuses[:, _Status.LENGTH]
        self._busy = bool(lengths.any())
        if not self._busy:
            return BatchRound(None, stop=last)
        blobs = self._world.all_gather_padded(self._encoded or b"", lengths.tolist())
        self._encoded = None
        batches = {rank: decode_batch(blob) for rank, blob in enumerate(blobs) if blob}
        commands = (
            batches[0].control if 0 in batches else ()
        )  # every worker reads all commands; the first worker's order among the events counts
        return BatchRound(
            replace(merge_batches([*batches.values()]), pending=self.pending, control=commands), stop=last
        )

    def _fetch(self, timeout: float) -> None:
        """Read and encode the next batch; wait for it only if no worker has had a batch in the last round."""
        if self._encoded is None:
            idle = self._consumer.idle
            batch = self._consumer.next_batch(
                (0.0 if self._busy else min(timeout, _IDLE_POLL_SECONDS)) if idle else timeout
            )
            self._encoded = None if batch is None else encode_batch(batch)

    def _compare(self, stop: bool) -> NDArray[np.int64]:
        supply = _Supply.BATCH if self._encoded else _Supply.NOTHING if self._consumer.idle else _Supply.INCOMPLETE
        if stop or time.monotonic() - self._lag_at >= _LAG_EVERY:
            self._lag, self._lag_at = self._consumer.lag(), time.monotonic()
            self._sizes = self._consumer.window_sizes()
        lag, lost = (self._lag[0], int(1000 * self._lag[1])), self._consumer.counts.lost
        status = [supply, len(self._encoded or b""), stop, self._world.fingerprint, self._consumer.pending, *lag]
        status += self._sizes
        self._statuses = self._world.all_gather_ints(status + [lost.get(topic, 0) for topic in self._topics])
        if len(
            apart := np.flatnonzero(self._statuses[:, _Status.FINGERPRINT] != self._statuses[0, _Status.FINGERPRINT])
        ):
            raise DivergedWorkersError(
                f"worker {apart[0]} has not made the same last step as worker 0; all workers need the same program, "
                "packages and kind of processor: put that right and start again, from the newest checkpoint"
            )
        return self._statuses

    def broadcast_decision(self, due: bool) -> bool:
        """Return `due` of the first worker."""
        return bool(self._world.broadcast_int(int(due)))

    def state_dict(self) -> dict[str, Any]:
        """Gather the states of all consumers, as `hsnn.streaming.consumer.rescale` packs them."""
        blobs = self._world.all_gather_bytes(msgspec.msgpack.encode(self._consumer.state_dict()))
        return pack_states([msgspec.msgpack.decode(blob) for blob in blobs])

    def deferred_state_dict(self) -> Callable[[], dict[str, Any]]:
        """Gather the states now, while all workers take part."""
        state = self.state_dict()
        return lambda: state

    def lag(self) -> tuple[int, float]:
        """Return the sum of records and the longest age over all workers, as of the last exchange."""
        return int(self._statuses[:, _Status.LAG].sum()), int(self._statuses[:, _Status.LAG_MS].max()) / 1000

    def lost_records(self) -> dict[str, int]:
        """Return the sums over all workers."""
        lost = self._statuses[:, _LOST:].sum(0).tolist()
        return {topic: count for topic, count in zip(self._topics, lost, strict=True) if count}

    def window_sizes(self) -> WindowSizes:
        """Return the sums over all workers, as of the last exchange."""
        return WindowSizes(*self._statuses[:, len(_Status) : _LOST].sum(0).tolist())

    @property
    def pending(self) -> int:
        """Impressions that wait for labels, in all workers."""
        return int(self._statuses[:, _Status.PENDING].sum())


def make_batch_source(consumer: Consumer, world: ProcessGroup | None) -> BatchSource:
    """Make the batch source of a single worker, or of one of several."""
    return LocalBatchSource(consumer) if world is None else DistributedBatchSource(consumer, world)
