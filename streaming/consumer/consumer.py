"""The consumer: partitions in, batches of exactly the configured size out, the same batches in every run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.batch_builder import (
    DUPLICATE,
    NOT_JOINED,
    OtherEvents,
    build_engagements,
    build_impressions,
    collect_other_events,
    impression_ids,
    source_partitions,
)
from hsnn.streaming.consumer.batch_queue import MAX_SIDE_ROWS, BatchQueue, is_side_row
from hsnn.streaming.consumer.dead_letter_limit import DeadLetterLimit
from hsnn.streaming.consumer.dedup import Deduplicator
from hsnn.streaming.consumer.fetcher import END_OFFSETS_MAX_AGE, DirectFetcher, Fetcher, PrefetchingFetcher
from hsnn.streaming.consumer.load_shedding import DROPPED_FOR_LAG, LoadShedder
from hsnn.streaming.consumer.merge import Merger
from hsnn.streaming.consumer.offsets import EventCounts, skip_delivered
from hsnn.streaming.consumer.out_of_range import OutOfRangePosition, with_offset_reset
from hsnn.streaming.consumer.partition_assignment import PartitionAssignment, owned_partitions
from hsnn.streaming.consumer.partition_buffer import PartitionBuffer
from hsnn.streaming.consumer.start_position import resolve_start
from hsnn.streaming.consumer.watermark import EventTimeLimits
from hsnn.streaming.dead_letters.writer import DeadLetterWriter
from hsnn.streaming.decode.decode_journal import DecodeJournal
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import EventTable, RowKind
from hsnn.streaming.errors import StateError
from hsnn.streaming.join.joiner import JoinResult, joiner_from_config
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position, RecordBatch
from hsnn.streaming.schema.batch import Batch
from hsnn.streaming.schema.commands import latest_end
from hsnn.streaming.schema.topics import TopicRole, topic_roles

# Longest single wait for rows, in seconds: between two waits it is checked whether a short batch is due.
_MAX_WAIT = 0.5


class WindowSizes(NamedTuple):
    """What a consumer remembers for some stream time; sums over workers are those of the fields.

    Attributes
    ----------
    shown_items
        Items of impressions that wait for their labels.
    waiting_actions
        Actions that wait for the impression that they answer.
    event_keys, event_key_bytes
        Events that are remembered to find duplicates, and about how much memory they take.
    """

    shown_items: int = 0
    waiting_actions: int = 0
    event_keys: int = 0
    event_key_bytes: int = 0


class Consumer:
    """Reads the partitions that this rank owns, in one order, without a consumer group.

    Parameters
    ----------
    event_log
        For this consumer alone.
    config
    state
        What `state_dict` returned, from a checkpoint; replaces `positions` and `watermark`.
    positions
        Offsets to start at; partitions that are not named start at their oldest record.
    watermark
        Largest event time accepted before, epoch ms.
    rank, world_size
        Which partitions it owns (`hsnn.streaming.consumer.partition_assignment`); commands are read by all.
    prefetch
        Read on a thread while batches are learned: the same batches, sooner. Nobody else may read `event_log` then,
        until `close`.
    journal
        Notes what is being decoded; None: nobody does.

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
        journal: DecodeJournal | None = None,
    ) -> None:
        event_log, self._offset_resets = with_offset_reset(event_log, config.on_lost_offsets)
        self._log = event_log
        self._config = config
        self._dead_letters = DeadLetterWriter(event_log)
        self._assignment = PartitionAssignment(rank, world_size)
        roles = dict(owned_partitions(event_log, config, self._assignment))
        self._positions = list(roles)  # by the consumer's number of the partition
        self._partition_numbers = np.array([partition for _, partition in self._positions], np.int64)
        self._dead_letters.load_written(topic_roles(config))
        self._progress, out_of_range = resolve_start(
            event_log,
            self._positions,
            state=state,
            positions=positions or {},
            watermark=watermark,
            policy=config.on_lost_offsets,
        )
        self._forget_dead_letters(out_of_range)
        self._limits = EventTimeLimits(int(config.max_future * 1000), int(config.max_past * 1000))
        self._buffers = {
            position: self._buffer(number, position, role) for number, (position, role) in enumerate(roles.items())
        }
        self._merger = Merger([*self._buffers.values()], self._limits, deepcopy(self._progress.watermark))
        topics = [topic for topic, _ in self._positions]
        self._dead_letter_limit = DeadLetterLimit(config.dead_letter_share, config.dead_letter_window, topics)
        self._shedder = LoadShedder(config.drop_above, config.drop_below)
        self._dedup, self._joiner = Deduplicator(int(config.dedup_window * 1000)), joiner_from_config(config)
        if state is not None:
            self._load_state_dict(state)
        self._queue = BatchQueue(config.batch_size)
        self._starving_since: float | None = None
        # Rows of a partition that suffice for now. Batches may come from one partition alone, and a poll should be
        # worth its cost: several batches, and a minimum for small ones.
        self._max_buffered = 4 * config.batch_size + 2048

        def decode(position: Position, records: RecordBatch) -> EventTable:
            role_decode = partial(decode_records, roles[position])
            return role_decode(records) if journal is None else journal.decode(records, role_decode)

        self._fetcher: Fetcher = DirectFetcher(event_log, decode)
        if prefetch:
            self._fetcher = PrefetchingFetcher(event_log, decode, self._max_buffered)
        self._fetcher.seek(self._progress.positions())
        self._ends_at_start = dict(self._fetcher.end_offsets(END_OFFSETS_MAX_AGE))
        self._update_has_more()

    def _load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._dedup.load_state(state["dedup"])
        self._dead_letter_limit.load_state_dict(state.get("letters", {}))
        if self._joiner is not None:
            self._joiner.load_state_dict(state["joiner"])
        elif state["joiner"] is not None:
            raise StateError(
                f"the checkpoint was written with streaming.tasks = {state['joiner']['tasks']}; set it back"
            )

    def _buffer(self, number: int, position: Position, role: TopicRole) -> PartitionBuffer:
        progress = self._progress.partitions[position]
        return PartitionBuffer(
            position, role, number, max_future=self._limits.max_future, key=progress.key, base=progress.base
        )

    @property
    def pending(self) -> int:
        """Count the impressions that wait for their last item to be labelled."""
        return 0 if self._joiner is None else self._joiner.pending

    def window_sizes(self) -> WindowSizes:
        """Measure what is remembered for some stream time."""
        joiner = self._joiner
        return WindowSizes(
            shown_items=0 if joiner is None else joiner.waiting_items,
            waiting_actions=0 if joiner is None else joiner.waiting_actions,
            event_keys=len(self._dedup),
            event_key_bytes=self._dedup.nbytes,
        )

    @property
    def idle(self) -> bool:
        """Whether everything in the owned partitions was read and delivered."""
        return not len(self._queue) and self._drained()

    @property
    def counts(self) -> EventCounts:
        """Count the events delivered so far, by what became of them."""
        return self._progress.counts

    def next_batch(self, timeout: float) -> Batch | None:
        """Return the next batch, or None if there is none within `timeout` seconds.

        It holds exactly ``config.batch_size`` interactions. It is shorter, perhaps without any, only if everything in
        the owned partitions was read and ``config.max_wait`` passed without more, or if it holds `MAX_SIDE_ROWS`
        rows of the catalogue, dead letters and shed events.

        Raises
        ------
        DeadLetterFloodError
            More than ``config.dead_letter_share`` of a topic's last events are dead letters; the consumer cannot be
            used any more.
        OutOfRangeError
            Retention removed records that were still to be read.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._merge()
            if self._queue.full:
                return self._close_batch()
            until_short = self._until_short_batch()
            if until_short is not None and until_short <= 0:
                return self._close_batch()
            left = deadline - time.monotonic()
            wait = max(0.0, min(left, _MAX_WAIT if until_short is None else until_short))
            if self._fetch(wait) or left > 0:
                continue
            # The time is over. Records that are known to be in the log are waited for all the same.
            if self._drained() or not self._fetch(_MAX_WAIT):
                self._count_lost(idle=self._drained() and not len(self._queue))
                return None

    def _merge(self) -> None:
        """Merge rows into the queue until it holds a full batch, or nothing more can be merged."""
        tables = []
        interactions, side_rows = self._queue.interactions, self._queue.side_rows
        while interactions < self._config.batch_size and side_rows < MAX_SIDE_ROWS:
            rows = self._merger.merge_next()
            if rows is None:
                break
            self._shedder.mark(rows)
            self._dedup.mark(rows)
            tables.append(rows)
            interactions += int(np.count_nonzero(rows.kind == RowKind.INTERACTION))
            side_rows += int(np.count_nonzero(is_side_row(rows.kind)))
        for rows in tables:
            self._queue.append(rows)

    def _until_short_batch(self) -> float | None:
        """Return the seconds until the waiting rows become a short batch; None while more is to be read first."""
        if not self._drained() or not len(self._queue):
            self._starving_since = None
            return None
        now = time.monotonic()
        self._starving_since = self._starving_since or now
        return self._starving_since + self._config.max_wait - now

    def _drained(self) -> bool:
        return not any(buffer.has_more or len(buffer) for buffer in self._buffers.values())

    def _fetch(self, wait: float) -> bool:
        """Read more rows; return whether there were any."""
        wanting = [buffer for buffer in self._buffers.values() if len(buffer) < self._max_buffered]
        # Unread partitions without any key stop the merge altogether: they are read first.
        blocking = [buffer for buffer in wanting if buffer.awaited and not buffer.keyed]
        tables = self._fetcher.read(wait, [buffer.position for buffer in (blocking or wanting)])
        for position, rows in tables:
            self._buffers[position].append(skip_delivered(rows, self._progress.partitions[position]))
        self._update_has_more()
        return bool(tables)

    def _update_has_more(self) -> None:
        """Note which partitions are known to hold more than was read."""
        read, ends = self._fetcher.positions(), self._fetcher.end_offsets(END_OFFSETS_MAX_AGE)
        for position, buffer in self._buffers.items():
            buffer.has_more = read[position] < ends[position]
            buffer.loading = read[position] < self._ends_at_start[position]

    def _close_batch(self) -> Batch:
        rows = self._queue.pop_batch()
        if exceeded := self._dead_letter_limit.check(rows):
            self._dead_letters.write(collect_other_events(rows[: exceeded.stop]).letters)
            self._dead_letters.flush()
            raise exceeded.error
        caught_up = not len(self._queue) and self._drained()
        self._progress.watermark.start = self._merger.watermark.start
        self._progress.advance(rows, self._positions, self._limits)
        self._dedup.deliver(rows, self._progress.watermark.value)
        self._starving_since = None
        if caught_up:
            self._skip_trailing_gaps()
        self._count_lost(idle=caught_up)
        return self._batch(rows, collect_other_events(rows), caught_up)

    def _count_lost(self, *, idle: bool) -> None:
        """Count the records that were lost before the place that delivery has reached."""
        read = self._fetcher.positions() if idle else {}
        passed = self._offset_resets.pop_delivered_resets(self._progress.partitions, read)
        if passed and idle:
            self._skip_trailing_gaps()  # the end may lie right behind the gap
        for lost in passed:
            self._progress.counts.add_lost(lost.position[0], lost.lost_records(self._config.on_lost_offsets))
        self._forget_dead_letters(passed)

    def _forget_dead_letters(self, out_of_range: list[OutOfRangePosition]) -> None:
        """Forget which dead letters were written, of partitions whose offsets began anew with another log."""
        for lost in out_of_range:
            if lost.log_was_truncated:
                self._dead_letters.forget(lost.position)

    def _skip_trailing_gaps(self) -> None:
        """Move past the offsets that a log's own bookkeeping takes at its end, so that lag becomes 0."""
        for position, offset in self._fetcher.positions().items():
            progress = self._progress.partitions[position]
            if offset != progress.offset:
                progress.offset, progress.index = offset, 0

    def _batch(self, rows: EventTable, others: OtherEvents, caught_up: bool) -> Batch:
        watermark = max(0, self._progress.watermark.value)
        # Dead letters of shared topics are written by the worker that owns the partition.
        letters = [letter for letter in others.letters if self._assignment.owns(letter.record.partition)]
        reasons = Counter(
            str(letter.reason) for letter in letters if letter.record.topic == self._config.engagements_topic
        )
        of_engagements = reasons.total()
        if letters:
            self._dead_letters.write(letters)
        joined = self._join(rows, others, watermark)
        dropped = {
            DUPLICATE: others.duplicates,
            DROPPED_FOR_LAG: others.shed,
            NOT_JOINED: 0 if self._joiner else others.impressions,
        }
        self._progress.counts.add_batch(
            delivered=len(joined.engagements),
            judged=joined.impressions,
            dead_lettered=of_engagements,
            side_dead_lettered=len(letters) - of_engagements,
            dropped=dropped,
        )
        return Batch(
            **joined.batch_fields(),
            positions=self._progress.positions(),
            watermark=watermark,
            items=others.items,
            item_sent_at=others.item_sent_at,
            users=others.users,
            deleted_users=others.deleted_users,
            seen_items=others.seen_items,
            control=others.control,
            dead_lettered=of_engagements,
            dropped={reason: count for reason, count in dropped.items() if count},
            letter_reasons=dict(reasons),
            caught_up=caught_up,
        )

    def _join(self, rows: EventTable, others: OtherEvents, watermark: int) -> JoinResult:
        events = build_engagements(rows)
        if self._joiner is None:
            return JoinResult(events)
        return self._joiner.update(
            events=events,
            impression_ids=impression_ids(rows),
            impressions=build_impressions(rows, self._partition_numbers),
            watermark=watermark,
            ended_at=latest_end(others.control),
            partition=source_partitions(rows, self._partition_numbers),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on after the last batch, as plain values; it goes into the checkpoint.

        The dead letters up to here are durable when this returns: after a restart nobody would write them again.
        """
        return self.deferred_state_dict()()

    def deferred_state_dict(self) -> Callable[[], dict[str, Any]]:
        """Copy the state; the returned function makes the `state_dict` of now, in any thread, at any time."""
        self._dead_letters.flush()
        state = self._progress.state_dict() | {"letters": self._dead_letter_limit.state_dict()}
        joiner = None if self._joiner is None else self._joiner.deferred_state_dict()
        dedup = self._dedup.deferred_state(self._progress.watermark.value)
        return lambda: state | {"dedup": dedup(), "joiner": joiner and joiner()}

    def added_partitions(self) -> list[Position]:
        """List the partitions that this rank owns and does not read: they were added since it started.

        They are read by a consumer that starts from this one's `state_dict`, from their oldest record on.
        """
        known = set(self._positions)
        now = owned_partitions(self._log, self._config, self._assignment, create=False)
        return [position for position, _ in now if position not in known]

    def uncommitted(self) -> int:
        """Count the records of transactions that are open, and those behind them, which nobody can read yet."""
        ends = self._log.end_positions(self._positions)
        highest = self._log.high_watermarks(self._positions)
        return sum(max(0, offset - ends[position]) for position, offset in highest.items())

    def poll_seconds(self) -> float:
        """Return for how long a poll of the log has not returned; 0 while none is under way."""
        return self._fetcher.poll_seconds()

    def close(self) -> None:
        """Read no more; the log stays open."""
        self._fetcher.close()

    def commit(self, positions: Mapping[Position, int]) -> None:
        """Publish offsets for lag tools, once the checkpoint that holds them is durable."""
        self._log.commit(self._config.group, positions)

    def lag(self) -> tuple[int, float]:
        """Count the records that were not delivered yet, and the seconds since the oldest known of them was sent."""
        ends = self._fetcher.end_offsets(0.0)
        records = sum(
            max(0, ends[position] - progress.offset)
            for position, progress in self._progress.partitions.items()
            if self._assignment.owns(position[1])
        )
        if not records:
            return 0, 0.0
        oldest = min((int(rows.sent_at[0]) for rows in self._heads() if len(rows)), default=self._progress.sent_at)
        return records, max(0.0, time.time() - oldest / 1000) if oldest > 0 else 0.0

    def _heads(self) -> Iterable[EventTable]:
        return (self._queue.head(), *(buffer.head(1) for buffer in self._buffers.values()))

    @property
    def owned(self) -> Collection[Position]:
        """Partitions of this rank."""
        return self._buffers.keys()

    @property
    def topics(self) -> Collection[str]:
        """Topics that are read: the same for every rank, whether it owns a partition of them or not."""
        return topic_roles(self._config).keys()
