"""Dead letters read back from the log: parsed, filtered and counted."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.dead_letters.writer import SUFFIX, source_of
from hsnn.streaming.errors import UnknownTopicError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Record
from hsnn.streaming.log.scan import read_topic
from hsnn.streaming.schema.topics import topic_roles

HEADER_PREFIX = "hsnn-"
"""Prefix of the headers that `hsnn` adds to a dead letter; those of the producer have others."""

FOREIGN = "(foreign)"
"""Stands for the reason where a record of a dead-letter topic is no dead letter."""


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter as read from its topic.

    Attributes
    ----------
    record
        The record in ``NAME.dlq``.
    topic, partition, offset, index
        Position of the event; index -1 is a whole record. Partition, offset and index are -1 for a foreign record.
    reason, detail
        A code, and an explanation.
    truncated_from
        Bytes of the original value where it was truncated; 0 where it is complete.
    """

    record: Record
    topic: str
    partition: int
    offset: int
    index: int
    reason: str
    detail: str
    truncated_from: int

    @property
    def foreign(self) -> bool:
        """Whether this is no dead letter of the topic."""
        return self.reason == FOREIGN

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Headers of the original record."""
        return tuple((name, value) for name, value in self.record.headers if not name.startswith(HEADER_PREFIX))

    @property
    def identity(self) -> str:
        """Source position and a digest of key and value, which tells letters of a recreated topic apart."""
        content = hashlib.sha256()
        for part in (self.record.key, self.record.value):
            content.update(b"-" if part is None else b"%d:%b" % (len(part), part))
        return f"{self.topic}/{self.partition}/{self.offset}/{self.index}/{content.hexdigest()[:16]}"


class DeadLetterFilter(NamedTuple):
    """Selects dead letters by reason and by the event's position in its own topic; None matches everything.

    Examples
    --------
    >>> letter = parse_dead_letter(Record("t.dlq", 0, 0, b"k", b"v", headers=(), sent_at=0))
    >>> DeadLetterFilter().matches(letter), DeadLetterFilter(reason="invalid").matches(letter)
    (True, False)
    """

    reason: str | None = None
    partition: int | None = None
    offset: int | None = None

    def matches(self, letter: StoredDeadLetter) -> bool:
        """Return whether a letter is selected."""
        pairs = ((self.reason, letter.reason), (self.partition, letter.partition), (self.offset, letter.offset))
        return all(wanted in (None, value) for wanted, value in pairs)


@dataclass(slots=True)
class DeadLetterCount:
    """Number of dead letters of one topic and reason; `first` and `last` are when they were written, epoch ms."""

    topic: str
    reason: str
    first: int
    last: int
    letters: int = 0
    replayed: int = 0


def parse_dead_letter(record: Record) -> StoredDeadLetter:
    """Parse a record of a topic ``NAME.dlq``."""
    topic, headers = record.topic.removesuffix(SUFFIX), _own_headers(record)
    source = source_of(headers)
    if source is None or source[0][0] != topic:
        return StoredDeadLetter(
            record, topic, partition=-1, offset=-1, index=-1, reason=FOREIGN, detail="", truncated_from=0
        )
    (_, partition), (offset, index) = source
    truncated_from = _text(headers, "hsnn-truncated-from")
    return StoredDeadLetter(
        record,
        topic,
        partition=partition,
        offset=offset,
        index=index,
        reason=_text(headers, "hsnn-reason"),
        detail=_text(headers, "hsnn-detail"),
        truncated_from=int(truncated_from) if truncated_from.isdecimal() else 0,
    )


def read_dead_letters(event_log: EventLog, topics: Iterable[str]) -> Iterator[StoredDeadLetter]:
    """Read the dead letters that the topics have at the time of the call, topic by topic."""
    for topic in topics:
        yield from map(parse_dead_letter, read_topic(event_log, topic + SUFFIX))


def count_dead_letters(letters: Iterable[StoredDeadLetter], replayed: Container[str]) -> list[DeadLetterCount]:
    """Count letters per topic and reason, sorted by both; `replayed` holds the identities of those sent again."""
    counts: dict[tuple[str, str], DeadLetterCount] = {}
    for letter in letters:
        written_at = letter.record.sent_at
        count = counts.setdefault(
            (letter.topic, letter.reason),
            DeadLetterCount(letter.topic, letter.reason, first=written_at, last=written_at),
        )
        count.first, count.last = min(count.first, written_at), max(count.last, written_at)
        count.letters += 1
        count.replayed += letter.identity in replayed
    return [counts[key] for key in sorted(counts)]


def topics_with_dead_letters(event_log: EventLog, config: StreamingConfig, topic: str | None = None) -> list[str]:
    """Return the configured topics that have dead letters, or `topic` alone if it is given.

    Raises
    ------
    UnknownTopicError
        The given topic has none.
    """
    if topic is None:
        return [name for name in topic_roles(config) if event_log.partitions(name + SUFFIX)]
    topic = topic.removesuffix(SUFFIX)
    if not event_log.partitions(topic + SUFFIX):
        raise UnknownTopicError(
            f"there is no topic {topic + SUFFIX!r} in the log: no event of {topic!r} ever became a dead letter"
        )
    return [topic]


def _own_headers(record: Record) -> dict[str, bytes]:
    """Return the headers that the writer added, which are the last ones.

    A producer that sent an older dead letter on may have sent headers of the same names.
    """
    starts = [index for index, (name, _) in enumerate(record.headers) if name == "hsnn-reason"]
    return dict(record.headers[starts[-1] :]) if starts else {}


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(name, b"").decode(errors="backslashreplace")
