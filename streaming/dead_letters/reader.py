"""Dead letters as they lie in the log: read back, told apart, counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
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
"""How the headers begin that are the project's; what a producer sent has others."""

FOREIGN = "(foreign)"
"""Stands for the reason of a record among the dead letters that is none."""


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter.

    Attributes
    ----------
    record
        As it lies in ``NAME.dlq``.
    topic, partition, offset, index
        Where the event was; index -1 is a whole record. Partition, offset and index are -1 for a foreign record.
    reason, detail
        A code, and a text for people.
    truncated_from
        Bytes of the original value where it was cut; 0 where the letter is whole.
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
        """Headers of the original."""
        return tuple((name, value) for name, value in self.record.headers if not name.startswith(HEADER_PREFIX))

    @property
    def identity(self) -> str:
        """Name the letter: its source position, and a digest of key and value, for a topic that was made anew."""
        content = hashlib.sha256()
        for part in (self.record.key, self.record.value):
            content.update(b"-" if part is None else b"%d:%b" % (len(part), part))
        return f"{self.topic}/{self.partition}/{self.offset}/{self.index}/{content.hexdigest()[:16]}"


class DeadLetterFilter(NamedTuple):
    """Which letters are asked for; None asks for all.

    `partition` and `offset` are those of the event in its own topic.

    Examples
    --------
    >>> letter = parse_dead_letter(Record("t.dlq", 0, 0, b"k", b"v", (), 0))
    >>> DeadLetterFilter().matches(letter), DeadLetterFilter(reason="invalid").matches(letter)
    (True, False)
    """

    reason: str | None = None
    partition: int | None = None
    offset: int | None = None

    def matches(self, letter: StoredDeadLetter) -> bool:
        """Whether a letter is one of them."""
        pairs = ((self.reason, letter.reason), (self.partition, letter.partition), (self.offset, letter.offset))
        return all(wanted in (None, found) for wanted, found in pairs)


def parse_dead_letter(record: Record) -> StoredDeadLetter:
    """Understand a record of a topic ``NAME.dlq``."""
    topic, headers = record.topic.removesuffix(SUFFIX), _ours(record)
    source = source_of(headers)
    if source is None or source[0][0] != topic:
        return StoredDeadLetter(record, topic, -1, -1, -1, FOREIGN, "", 0)
    (_, partition), (offset, index) = source
    reason, detail = _text(headers, "hsnn-reason"), _text(headers, "hsnn-detail")
    cut = _text(headers, "hsnn-truncated-from")
    return StoredDeadLetter(record, topic, partition, offset, index, reason, detail, int(cut) if cut.isdecimal() else 0)


def read_dead_letters(event_log: EventLog, topics: Iterable[str]) -> Iterator[StoredDeadLetter]:
    """Read the dead letters that some topics have now, topic by topic."""
    for topic in topics:
        yield from map(parse_dead_letter, read_topic(event_log, topic + SUFFIX))


def topics_with_dead_letters(event_log: EventLog, config: StreamingConfig, topic: str | None = None) -> list[str]:
    """Topics that have dead letters: those of the configuration, or the one that is named.

    Raises
    ------
    UnknownTopicError
        The one that is named has none.
    """
    if topic is None:
        return [name for name in topic_roles(config) if event_log.partitions(name + SUFFIX)]
    topic = topic.removesuffix(SUFFIX)
    if not event_log.partitions(topic + SUFFIX):
        raise UnknownTopicError(
            f"there is no topic {topic + SUFFIX!r} in the log: no event of {topic!r} was ever put aside"
        )
    return [topic]


def _ours(record: Record) -> dict[str, bytes]:
    """Headers that were put on the letter; a producer that sent an older letter on may have sent such names, too."""
    starts = [at for at, (name, _) in enumerate(record.headers) if name == "hsnn-reason"]
    return dict(record.headers[starts[-1] :]) if starts else {}


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(name, b"").decode(errors="backslashreplace")
