"""Replay of dead letters: send each back to its topic once, and report what became of all that were read.

Replayed letters are recorded in the log itself, in the compacted topic ``NAME.dlq.replayed``: one record per letter,
keyed by the letter's identity (`hsnn.streaming.dead_letters.reader.StoredDeadLetter.identity`). The record is written
after the events are durable, so a run that dies in between sends at most `CHUNK` letters a second time when it is
repeated; of these, engagements with an id are dropped as duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from hsnn.streaming.dead_letters.reader import DeadLetterFilter, StoredDeadLetter, read_dead_letters
from hsnn.streaming.dead_letters.writer import SUFFIX
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.scan import read_topic

REPLAYED = SUFFIX + ".replayed"
CHUNK = 500

NOT_WANTED = "not_wanted"
"""The filters leave it out."""

ALREADY = "already_replayed"
"""This run or one before it sent it."""

CUT = "truncated"
"""The value was too large for a dead letter, so the original is not here."""

NO_LETTER = "foreign"
"""No dead letter of this topic; somebody else wrote it there."""

CANNOT = (CUT, NO_LETTER)
"""Why a letter cannot be sent at all."""


@dataclass(slots=True)
class ReplayReport:
    """What became of the letters that were read: read = replayed + the sum of skipped."""

    read: int = 0
    replayed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def not_replayable(self) -> int:
        """Letters that were asked for and cannot be sent."""
        return sum(self.skipped[reason] for reason in CANNOT)

    @property
    def balanced(self) -> bool:
        """Whether every letter is accounted for."""
        return self.read == self.replayed.total() + self.skipped.total()


def read_replayed(event_log: EventLog, topics: Iterable[str]) -> set[str]:
    """Identities of the letters of some topics that were sent again before."""
    return {
        record.key.decode(errors="replace")
        for topic in topics
        for record in read_topic(event_log, topic + REPLAYED)
        if record.key is not None
    }


def replay(event_log: EventLog, topics: list[str], wanted: DeadLetterFilter, *, dry_run: bool = False) -> ReplayReport:
    """Send letters back to their topics: original key, value and headers, into the original partition.

    Letters that come in while this runs, such as those that break again, are not looked at. One run at a time.

    Parameters
    ----------
    event_log
        For this call alone: it seeks.
    topics
        That have dead letters; see `hsnn.streaming.dead_letters.reader.topics_with_dead_letters`.
    wanted
        Letters that it does not match are skipped.
    dry_run
        Count what would be sent, and write nothing.

    Raises
    ------
    StreamingError
        The log is away or refuses records; what was sent until then is remembered, but for the last chunk.
    """
    account, known = ReplayReport(), read_replayed(event_log, topics)
    for topic in topics:
        todo = _chosen(read_dead_letters(event_log, [topic]), wanted, known, account)
        while chunk := list(islice(todo, CHUNK)):
            if not dry_run:
                _send(event_log, topic, chunk)
            account.replayed[topic] += len(chunk)
    return account


def _chosen(
    found: Iterable[StoredDeadLetter], wanted: DeadLetterFilter, known: set[str], account: ReplayReport
) -> Iterator[StoredDeadLetter]:
    for letter in found:
        account.read += 1
        reason = _why_not(letter, wanted, known)
        if reason:
            account.skipped[reason] += 1
        else:
            known.add(letter.identity)
            yield letter


def _why_not(letter: StoredDeadLetter, wanted: DeadLetterFilter, known: set[str]) -> str:
    if not wanted.matches(letter):
        return NOT_WANTED
    if letter.foreign:
        return NO_LETTER
    if letter.truncated_from:
        return CUT
    return ALREADY if letter.identity in known else ""


def _send(event_log: EventLog, topic: str, chunk: list[StoredDeadLetter]) -> None:
    """Events first, then the marks, each durable before what follows."""
    partitions, marks = len(event_log.partitions(topic)), topic + REPLAYED
    event_log.append(topic, [_original(letter, partitions) for letter in chunk])
    event_log.flush()
    event_log.create_topic(marks, len(event_log.partitions(topic + SUFFIX)), compacted=True)
    partitions = len(event_log.partitions(marks))
    event_log.append(marks, [_mark(letter, partitions) for letter in chunk])
    event_log.flush()


def _original(letter: StoredDeadLetter, partitions: int) -> ProducerRecord:
    """Return what the producer sent, for the partition that its user's other events are in."""
    key, value = letter.record.key, letter.record.value
    partition = letter.partition if 0 <= letter.partition < partitions else None
    return ProducerRecord(key, value, letter.headers, partition=partition)


def _mark(letter: StoredDeadLetter, partitions: int) -> ProducerRecord:
    """Return the mark, for the partition of the same number as the letter's: a log's retention treats both alike."""
    record = letter.record
    where = {"letter": [record.topic, record.partition, record.offset], "reason": letter.reason}
    return ProducerRecord(letter.identity.encode(), msgspec.json.encode(where), partition=record.partition % partitions)
