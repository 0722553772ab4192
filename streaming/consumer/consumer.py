"""The consumer: partitions in, batches of exactly the configured size out, the same ones in every run."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.batch_builder import (
    DUPLICATE,
    NOT_JOINED,
    SideEvents,
    build_engagements,
    build_impressions,
    collect_side_events,
    impression_ids,
    source_partitions,
)
from hsnn.streaming.consumer.batch_queue import MAX_DISCARDED, BatchQueue, is_discarded
from hsnn.streaming.consumer.dead_letter_limit import DeadLetterLimit
from hsnn.streaming.consumer.dedup import Deduplicator
from hsnn.streaming.consumer.fetcher import END_OFFSETS_MAX_AGE, DirectFetcher, Fetcher, PrefetchingFetcher
from hsnn.streaming.consumer.load_shedding import LAG, LoadShedder
from hsnn.streaming.consumer.merge import Merger, accepted_engagements
from hsnn.streaming.consumer.offsets import EventCounts, skip_delivered
from hsnn.streaming.consumer.out_of_range import OutOfRangePosition, reading
from hsnn.streaming.consumer.partition_assignment import PartitionAssignment, owned_partitions
from hsnn.streaming.consumer.partition_buffer import PartitionBuffer
from hsnn.streaming.consumer.polling import Decode
from hsnn.streaming.consumer.start_position import resolve_start
from hsnn.streaming.consumer.watermark import EventTimeLimits, Rejections
from hsnn.streaming.dead_letters.writer import DeadLetterWriter
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.rows import INDEX, KIND, OFFSET, PART, SENT_AT, RowKind, Rows
from hsnn.streaming.errors import StateError
from hsnn.streaming.join.joiner import JoinResult, joiner_from_config
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.batch import Batch
from hsnn.streaming.schema.commands import ended
from hsnn.streaming.schema.topics import TopicRole, topic_roles

_LONGEST_WAIT = 0.5


class Consumer:
    """Read the partitions that this rank owns, in one order, without a consumer group.

    Parameters
    ----------
    event_log
        For this consumer alone.
    config
    state
        What `state` returned, from a checkpoint; replaces `positions` and `watermark`.
    positions
        Where to start; partitions that are not named start at their oldest record.
    watermark
        Largest event time believed before, epoch ms.
    rank, world_size
        Which partitions it owns (`hsnn.streaming.consumer.partition_assignment`); commands are read by all.
    ahead
        Read on a thread while batches are learned: the same batches, sooner. Nobody else may read `event_log` then,
        until `close`.

    Raises
    ------
    OutOfRangeError
        The log no longer holds, or does not hold, the records at a position.
    StateError
        The state is of other partitions than this rank owns.
    """

    def __init__(
        self,
        event_log: EventLog,
        config: StreamingConfig,
        *,
        state: Mapping[str, Any] | None = None,
        positions: Mapping[Position, int] | None = None,
        watermark: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        prefetch: bool = False,
    ) -> None:
        event_log, self._lost = reading(event_log, config.on_lost_offsets)
        self._log = event_log
        self._config = config
        self._letters = DeadLetterWriter(event_log)
        self._share = PartitionAssignment(rank, world_size)
        self._owned = owned_partitions(event_log, config, self._share)
        self._numbers = np.array([partition for (_, partition), _ in self._owned], np.int64)
        self._letters.open(topic_roles(config))
        places = [position for position, _ in self._owned]
        self._progress, lost = resolve_start(
            event_log, places, state, positions or {}, watermark, config.on_lost_offsets
        )
        self._forget_letters(lost)
        self._partitions = [self._partition(number, *owned) for number, owned in enumerate(self._owned)]
        self._of = {partition.position: partition for partition in self._partitions}
        limits = EventTimeLimits(int(config.max_future * 1000), int(config.max_past * 1000))
        self._merger = Merger(self._partitions, limits, deepcopy(self._progress.watermark))
        topics = [position[0] for position in places]
        self._cap = DeadLetterLimit(config.dead_letter_share, config.dead_letter_window, topics)
        self._shedder = LoadShedder(config.drop_above, config.drop_below)
        self._dedup, self._joiner = Deduplicator(int(config.dedup_window * 1000)), joiner_from_config(config)
        if state is not None:
            self._restore(state)
        self._ready = BatchQueue(config.batch_size)
        self._enough = 4 * config.batch_size + 2048  # rows of a partition that are plenty
        self._starving_since: float | None = None
        roles = dict(self._owned)
        decode: Decode = lambda position, records: decode_records(roles[position], records)  # noqa: E731
        self._reader: Fetcher = (
            PrefetchingFetcher(event_log, decode, self._enough) if prefetch else DirectFetcher(event_log, decode)
        )
        self._reader.seek(self._progress.positions())
        self._note_open()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._dedup.load_state_dict(state["dedup"])
        self._cap.load_state_dict(state.get("letters", {}))
        if self._joiner is not None:
            self._joiner.load_state_dict(state["joiner"])
        elif state["joiner"] is not None:
            raise StateError(
                f"the checkpoint was written with streaming.tasks = {state['joiner']['tasks']}; set it back"
            )

    def _partition(self, number: int, position: Position, role: TopicRole) -> PartitionBuffer:
        place = self._progress.partitions[position]
        partition = PartitionBuffer(position, role, number, place.key)
        partition.rejections = place.rejections
        return partition

    @property
    def pending(self) -> int:
        """Count the impressions that wait for their last item to be judged."""
        return 0 if self._joiner is None else self._joiner.pending

    @property
    def idle(self) -> bool:
        """Whether everything in the owned partitions was read and delivered."""
        return not len(self._ready) and self._drained()

    @property
    def counts(self) -> EventCounts:
        """What became of the events delivered so far."""
        return self._progress.counts

    def next_batch(self, timeout: float) -> Batch | None:
        """Return the next batch, or None if there is none within `timeout` seconds.

        It holds exactly ``config.batch_size`` interactions. It is shorter, perhaps without any, only if everything in
        the owned partitions was read and ``config.max_wait`` passed without more, or if it holds `MAX_DISCARDED` dead
        letters and dropped events.

        Raises
        ------
        DeadLetterFloodError
            More than ``config.dead_letter_share`` of a topic's last events are dead letters; the consumer is of no more
            use.
        OutOfRangeError
            Retention removed records that were still to be read.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._merge()
            if self._ready.full:
                return self._close()
            patience = self._patience()
            if patience is not None and patience <= 0:
                return self._close()
            left = deadline - time.monotonic()
            if self._fill(max(0.0, min(left, _LONGEST_WAIT if patience is None else patience))) or left > 0:
                continue
            if self._drained() or not self._fill(_LONGEST_WAIT):  # what is known to be there is on its way
                self._pass_losses(idle=self._drained() and not len(self._ready))
                return None

    def _merge(self) -> None:
        parts = []
        found, letters = self._ready.interactions, self._ready.discarded
        while (
            found < self._config.batch_size
            and letters < MAX_DISCARDED
            and (rows := self._merger.merge_next()) is not None
        ):
            self._shedder.mark(rows)
            self._dedup.mark(rows)
            parts.append(rows)
            found += int(np.count_nonzero(rows.column(KIND) == RowKind.INTERACTION))
            letters += int(np.count_nonzero(is_discarded(rows.column(KIND))))
        for rows in parts:
            self._ready.append(rows)

    def _patience(self) -> float | None:
        """Seconds until the waiting rows become a short batch; None while that cannot be."""
        if not self._drained() or not len(self._ready):
            self._starving_since = None
            return None
        now = time.monotonic()
        self._starving_since = self._starving_since or now
        return self._starving_since + self._config.max_wait - now

    def _drained(self) -> bool:
        return not any(partition.has_more or len(partition) for partition in self._partitions)

    def _fill(self, wait: float) -> bool:
        """Read more; return whether there was any."""
        hungry = [p for p in self._partitions if len(p) < self._enough]
        starved = [p for p in hungry if p.has_more and not p.keyed]
        found = self._reader.read(wait, [p.position for p in (starved or hungry)])
        for position, rows in found:
            self._of[position].append(skip_delivered(rows, self._progress.partitions[position]))
        self._note_open()
        return bool(found)

    def _note_open(self) -> None:
        """Note which partitions are known to hold more than was read."""
        read, ends = self._reader.positions(), self._reader.end_offsets(END_OFFSETS_MAX_AGE)
        for position, partition in self._of.items():
            partition.has_more = read[position] < ends[position]

    def _close(self) -> Batch:
        rows = self._ready.pop_batch()
        if flood := self._cap.check(rows):
            self._letters.write(collect_side_events(rows[: flood.stop]).letters)
            self._letters.flush()
            raise flood.error
        dry = not len(self._ready) and self._drained()
        self._progress.advance(rows, [position for position, _ in self._owned])
        self._dedup.deliver(rows, self._progress.watermark.value)
        self._advance_strikes(rows)
        self._progress.watermark.start = self._merger.watermark.start
        self._starving_since = None
        if dry:
            self._skip_gaps()
        self._pass_losses(idle=dry)
        return self._batch(rows, collect_side_events(rows), dry)

    def _pass_losses(self, *, idle: bool) -> None:
        """Count what was lost before the place that delivery has reached."""
        passed = self._lost.pop_delivered_resets(self._progress.partitions, self._reader.positions() if idle else {})
        if passed and idle:
            self._skip_gaps()  # the end may lie right behind the gap
        for loss in passed:
            self._progress.counts.add_lost(loss.position[0], loss.lost_records(self._config.on_lost_offsets))
        self._forget_letters(passed)

    def _forget_letters(self, lost: list[OutOfRangePosition]) -> None:
        for loss in lost:
            if loss.wanted > loss.end:
                self._letters.forget(loss.position)

    def _skip_gaps(self) -> None:
        """Stand behind what a log's own bookkeeping takes at its end, so that lag becomes 0."""
        for position, offset in self._reader.positions().items():
            place = self._progress.partitions[position]
            if offset != place.offset:
                place.offset, place.index = offset, 0

    def _advance_strikes(self, rows: Rows) -> None:
        for place in self._struck(rows):
            number, at = place
            partition = self._progress.partitions[self._partitions[number].position]
            key = (number, *rows.numbers[OFFSET : INDEX + 1, at].tolist())
            partition.rejections = self._merger.rejections_after.pop(key, partition.rejections)
            if accepted_engagements(rows[at + 1 :], number).any():
                partition.rejections = Rejections()

    def _struck(self, rows: Rows) -> list[tuple[int, int]]:
        """(partition, row) where strikes may change: refused leaps, or the start for partitions that have some."""
        waiting = [n for n, p in enumerate(self._partitions) if self._progress.partitions[p.position].rejections.count]
        dead = np.flatnonzero(rows.column(KIND) == RowKind.DEAD) if self._merger.rejections_after else ()
        return [*((n, -1) for n in waiting), *((int(rows.numbers[PART, at]), int(at)) for at in dead)]

    def _batch(self, rows: Rows, more: SideEvents, dry: bool) -> Batch:
        counts, watermark = self._progress.counts, max(0, self._progress.watermark.value)
        own = [letter for letter in more.letters if self._share.owns(letter.record.partition)]
        letters = sum(letter.record.topic == self._config.engagements_topic for letter in own)
        if own:
            self._letters.write(own)
        joined = self._join(rows, more, watermark)
        dropped = {DUPLICATE: more.duplicates, LAG: more.shed, NOT_JOINED: 0 if self._joiner else more.impressions}
        counts.add_batch(len(joined.engagements), joined.impressions, letters, len(own) - letters, dropped)
        return Batch(
            **joined.batch_fields(),
            positions=self._progress.positions(),
            watermark=watermark,
            items=more.items,
            item_sent_at=more.item_sent_at,
            users=more.users,
            deleted_items=more.deleted_items,
            deleted_users=more.deleted_users,
            seen_items=more.seen_items,
            control=more.control,
            dead_lettered=letters,
            dropped={reason: count for reason, count in dropped.items() if count},
            dry=dry,
        )

    def _join(self, rows: Rows, more: SideEvents, watermark: int) -> JoinResult:
        events = build_engagements(rows)
        if self._joiner is None:
            return JoinResult(events)
        return self._joiner.update(
            events,
            impression_ids(rows),
            build_impressions(rows, self._numbers),
            watermark,
            ended(more.control),
            source_partitions(rows, self._numbers),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on after the last batch, as plain values; goes into the checkpoint.

        The dead letters up to here are durable when this returns: after a restart nobody would write them again.
        """
        return self.capture_state()()

    def capture_state(self) -> Callable[[], dict[str, Any]]:
        """Note the same without making values of it: the call of what is returned does, in any thread, at any time."""
        self._letters.flush()
        state = self._progress.state_dict() | {"letters": self._cap.state_dict()}
        joiner = None if self._joiner is None else self._joiner.capture_state()
        dedup = self._dedup.capture_state(self._progress.watermark.value)
        return lambda: state | {"dedup": dedup(), "joiner": joiner and joiner()}

    def close(self) -> None:
        """Read no more; the log stays open."""
        self._reader.close()

    def commit(self, positions: Mapping[Position, int]) -> None:
        """Publish positions for lag tools, once the checkpoint that holds them is durable."""
        self._log.commit(self._config.group, positions)

    def lag(self) -> tuple[int, float]:
        """Count the records that were not delivered yet, and the seconds since the oldest known of them was sent."""
        places = {
            position: place for position, place in self._progress.partitions.items() if self._share.owns(position[1])
        }
        ends = self._reader.end_offsets(0.0)
        records = sum(max(0, ends[position] - place.offset) for position, place in places.items())
        if not records:
            return 0, 0.0
        sent = min((int(r.column(SENT_AT)[0]) for r in self._oldest() if len(r)), default=self._progress.sent_at)
        return records, max(0.0, time.time() - sent / 1000) if sent > 0 else 0.0

    def _oldest(self) -> Iterable[Rows]:
        return (self._ready.head(), *(partition.head(1) for partition in self._partitions))

    @property
    def owned(self) -> Collection[Position]:
        """Partitions of this rank."""
        return self._of.keys()

    @property
    def topics(self) -> Collection[str]:
        """Topics that are read: the same for every rank, whether it owns a partition of them or not."""
        return topic_roles(self._config).keys()
