"""Replay of dead letters: send each back to its topic once, and report what became of all that were read.

Replayed letters are recorded in the log itself, in the compacted topic ``NAME.dlq.replayed``: one record per letter,
keyed by the letter's identity (`hsnn.streaming.dead_letters.reader.StoredDeadLetter.identity`). The record is written
after the events are durable, so a run that dies in between sends at most `CHUNK` letters a second time when it is
repeated; of these, engagements with an id are dropped as duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

import msgspec

from hsnn.streaming.dead_letters.reader import DeadLetterFilter, StoredDeadLetter, read_dead_letters
from hsnn.streaming.dead_letters.writer import SUFFIX
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.scan import read_topic

# Ending of the topic that records which letters were sent again.
REPLAYED = SUFFIX + ".replayed"

# Letters sent and recorded together: as many are sent twice at most when a run dies in between.
CHUNK = 500


class SkipReason(StrEnum):
    """Why a letter was not sent."""

    NOT_WANTED = "not_wanted"
    """The filter does not match it."""

    ALREADY_REPLAYED = "already_replayed"
    """This run or an earlier one sent it."""

    TRUNCATED = "truncated"
    """The value was too large for a dead letter, so the original is not in the log."""

    LEFT_OUT = "left_out"
    """Whoever edited the letters has deleted its line."""

    FOREIGN = "foreign"
    """The record is no dead letter of this topic; another program wrote it."""


@dataclass(slots=True)
class ReplayReport:
    """What became of the letters that were read: read = replayed + the sum of skipped."""

    read: int = 0
    replayed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[SkipReason] = field(default_factory=Counter)

    @property
    def not_replayable(self) -> int:
        """Number of letters that the filter matches and that cannot be sent."""
        return self.skipped[SkipReason.TRUNCATED] + self.skipped[SkipReason.FOREIGN]

    @property
    def balanced(self) -> bool:
        """Whether every letter is accounted for."""
        return self.read == self.replayed.total() + self.skipped.total()


def read_replayed(event_log: EventLog, topics: Iterable[str]) -> set[str]:
    """Read the identities of the letters of the topics that were replayed before."""
    return {
        record.key.decode(errors="replace")
        for topic in topics
        for record in read_topic(event_log, topic + REPLAYED)
        if record.key is not None
    }


def replay(
    event_log: EventLog,
    topics: list[str],
    wanted: DeadLetterFilter,
    *,
    edited: Mapping[str, bytes | None] | None = None,
    dry_run: bool = False,
) -> ReplayReport:
    """Send letters back to their topics: original key, value and headers, into the original partition.

    Letters that are written during the run, such as those that fail again, are not read. One run at a time.

    Parameters
    ----------
    event_log
        For this call alone: it seeks.
    topics
        Those that have dead letters; see `hsnn.streaming.dead_letters.reader.topics_with_dead_letters`.
    wanted
        Letters that it does not match are skipped.
    edited
        Values to send by the letters' identities, in place of the original ones; letters that it lacks are skipped.
        None sends the original values.
    dry_run
        Count what would be sent, and write nothing.

    Raises
    ------
    StreamingError
        The log is unavailable or refuses records; what was sent before is recorded, except for the last chunk.
    """
    report, replayed = ReplayReport(), read_replayed(event_log, topics)
    for topic in topics:
        letters = _select(read_dead_letters(event_log, [topic]), wanted, replayed, report, edited=edited)
        while chunk := list(islice(letters, CHUNK)):
            if not dry_run:
                _send(event_log, topic, chunk, edited or {})
            report.replayed[topic] += len(chunk)
    return report


def select_replayable(event_log: EventLog, topics: Sequence[str], wanted: DeadLetterFilter) -> list[StoredDeadLetter]:
    """List the letters that `replay` would send, in its order."""
    replayed = read_replayed(event_log, topics)
    return list(_select(read_dead_letters(event_log, topics), wanted, replayed, ReplayReport()))


def _select(
    letters: Iterable[StoredDeadLetter],
    wanted: DeadLetterFilter,
    replayed: set[str],
    report: ReplayReport,
    *,
    edited: Mapping[str, bytes | None] | None = None,
) -> Iterator[StoredDeadLetter]:
    """Yield the letters to send, add them to `replayed`, and count all."""
    for letter in letters:
        report.read += 1
        reason = _skip_reason(letter, wanted, replayed)
        if reason is None and edited is not None and letter.identity not in edited:
            reason = SkipReason.LEFT_OUT
        if reason is not None:
            report.skipped[reason] += 1
        else:
            replayed.add(letter.identity)
            yield letter


def _skip_reason(letter: StoredDeadLetter, wanted: DeadLetterFilter, replayed: set[str]) -> SkipReason | None:
    if not wanted.matches(letter):
        return SkipReason.NOT_WANTED
    if letter.foreign:
        return SkipReason.FOREIGN
    if letter.truncated_from:
        return SkipReason.TRUNCATED
    return SkipReason.ALREADY_REPLAYED if letter.identity in replayed else None


def _send(event_log: EventLog, topic: str, chunk: list[StoredDeadLetter], edited: Mapping[str, bytes | None]) -> None:
    """Append the events, then the records of their replay, each durable before what follows."""
    partitions, replayed_topic = len(event_log.partitions(topic)), topic + REPLAYED
    event_log.append(topic, [_original(letter, partitions, edited) for letter in chunk])
    event_log.flush()
    event_log.create_topic(replayed_topic, len(event_log.partitions(topic + SUFFIX)), compacted=True)
    partitions = len(event_log.partitions(replayed_topic))
    event_log.append(replayed_topic, [_replay_record(letter, partitions) for letter in chunk])
    event_log.flush()


def _original(letter: StoredDeadLetter, partitions: int, edited: Mapping[str, bytes | None]) -> ProducerRecord:
    """Return the record that the producer sent, edited, for the partition that holds its user's other events."""
    key, value = letter.record.key, edited.get(letter.identity, letter.record.value)
    partition = letter.partition if 0 <= letter.partition < partitions else None
    return ProducerRecord(key, value, letter.headers, partition=partition)


def _replay_record(letter: StoredDeadLetter, partitions: int) -> ProducerRecord:
    """Return the record of a replay, for the letter's own partition number: a log's retention treats both alike."""
    record = letter.record
    content = {"letter": [record.topic, record.partition, record.offset], "reason": letter.reason}
    return ProducerRecord(
        letter.identity.encode(), msgspec.json.encode(content), partition=record.partition % partitions
    )
