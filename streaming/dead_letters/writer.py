"""Events that cannot be learned: kept whole, with the reason, in the topic ``NAME.dlq``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.records import Headers, Position, Record
from hsnn.streaming.log.scan import read_range
from hsnn.streaming.schema.arrow import extract_row

log = logging.getLogger(__name__)

SUFFIX = ".dlq"
WHOLE_RECORD = -1
"""Index of a dead letter that is a whole record which should have held several events."""

_LONGEST_DETAIL = 500
# Kafka's default limit of a message is 1 MiB, headers included; what is left is for the headers that say why.
_LARGEST = 1_000_000
_TAIL = 1000

Source = tuple[int, int]
"""(offset, index) in the source partition."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event that was not believed or not understood: where it was, a reason code, and a text for people."""

    record: Record
    index: int
    reason: str
    detail: str


def to_record(letter: DeadLetter, partitions: int) -> ProducerRecord:
    """Turn a dead letter into a record: original key, value and headers, and headers that say why and from where."""
    record = letter.record
    value = record.value if letter.index == WHOLE_RECORD else extract_row(record.value, letter.index)
    headers = [
        ("hsnn-reason", letter.reason),
        ("hsnn-detail", letter.detail[:_LONGEST_DETAIL]),
        ("hsnn-topic", record.topic),
        ("hsnn-partition", str(record.partition)),
        ("hsnn-offset", str(record.offset)),
        ("hsnn-index", str(letter.index)),
    ]
    key, theirs = record.key, record.headers
    size = len(key or b"") + len(value or b"") + _size(theirs)
    if size > _LARGEST:
        headers.append(("hsnn-truncated-from", str(len(value or b"") or size)))
        key, value, theirs = _cut(key, value, theirs)
    ours = tuple((name, text.encode(errors="backslashreplace")) for name, text in headers)
    # Kafka's client refuses a record that has neither key nor value.
    return ProducerRecord(
        b"" if key is value is None else key, value, theirs + ours, partition=record.partition % partitions
    )


def _size(headers: Headers) -> int:
    return sum(len(name) + len(content) + 16 for name, content in headers)


def _cut(key: bytes | None, value: bytes | None, headers: Headers) -> tuple[bytes | None, bytes | None, Headers]:
    """Make a record small enough for any broker: of the value as much as fits beside headers and key."""
    if len(key or b"") + _size(headers) > _LARGEST:
        headers = ()
    key = key and key[:_LARGEST]
    return key, value and value[: _LARGEST - len(key or b"") - _size(headers)], headers


class DeadLetterWriter:
    """Append dead letters to ``TOPIC.dlq``, each source position once.

    A restart reads events again that were consumed after the checkpoint. Dead letters of one source partition are
    written in the order of their positions and into one partition, so the newest one there says what was written. It
    says nothing if its source lies beyond the end of the source's partition: that topic was made anew since.

    Parameters
    ----------
    event_log
        Must be one that nobody else seeks on: the writer seeks to read the end of the dead letters.
    """

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._partitions: dict[str, int] = {}
        self._written: dict[Position, Source] = {}
        self._waiting = False

    def load_written(self, topics: Iterable[str]) -> None:
        """Look up which source positions of these topics were written before; call before the log is read."""
        for topic in topics:
            found = self._log.partitions(topic + SUFFIX)
            if found:
                self._partitions[topic] = len(found)
                newest = _newest(self._log, topic, found)
                held = set(self._log.partitions(topic))
                ends = self._log.end_positions([place for place in newest if place[1] in held])
                self._written.update({place: newest[place] for place, end in ends.items() if newest[place][0] < end})

    def forget(self, place: Position) -> None:
        """Take it that nothing was written of a source partition: its offsets begin anew."""
        self._written.pop(place, None)

    def write(self, letters: Iterable[DeadLetter]) -> int:
        """Append those that were not written before; return how many."""
        todo: dict[str, list[ProducerRecord]] = {}
        reasons: Counter[str] = Counter()
        for letter in letters:
            topic, place, source = letter.record.topic, letter.record[:2], (letter.record.offset, letter.index)
            if source > self._written.get(place, (-1, WHOLE_RECORD)):
                todo.setdefault(topic, []).append(to_record(letter, self._partitions_of(topic)))
                self._written[place] = source
                reasons[letter.reason] += 1
        for topic, records in todo.items():
            self._log.append(topic + SUFFIX, records)
            self._waiting = True
        if reasons:
            log.warning("dead letters: %s", ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
        return sum(reasons.values())

    def flush(self) -> None:
        """Wait until the dead letters are durable; before this the positions past them must not be committed."""
        if self._waiting:
            self._log.flush()
            self._waiting = False

    def _partitions_of(self, topic: str) -> int:
        if topic not in self._partitions:
            self._log.create_topic(topic + SUFFIX, max(1, len(self._log.partitions(topic))))
            self._partitions[topic] = len(self._log.partitions(topic + SUFFIX))
        return self._partitions[topic]


def _newest(event_log: EventLog, topic: str, partitions: list[int]) -> dict[Position, Source]:
    """Highest source position per source partition among the newest dead letters."""
    places = [(topic + SUFFIX, partition) for partition in partitions]
    begin, end = event_log.begin_positions(places), event_log.end_positions(places)
    newest: dict[Position, Source] = {}
    for record in read_range(event_log, {place: max(begin[place], end[place] - _TAIL) for place in places}, end):
        found = source_of(dict(record.headers))
        if found is not None and found[0][0] == topic:
            place, source = found
            newest[place] = max(source, newest.get(place, source))
    return newest


def source_of(headers: Mapping[str, bytes]) -> tuple[Position, Source] | None:
    """Where a dead letter came from; None for a foreign record in the topic."""
    try:
        place = headers["hsnn-topic"].decode(), int(headers["hsnn-partition"])
        return place, (int(headers["hsnn-offset"]), int(headers["hsnn-index"]))
    except (KeyError, ValueError):
        return None
