"""Writer of dead letters: events that cannot be learned from, kept complete, with the reason, in ``NAME.dlq``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Counter as MetricCounter

from hsnn.streaming.dead_letters.reasons import DeadLetterReason
from hsnn.streaming.errors import AppendRefusedError
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.records import Headers, Position, Record
from hsnn.streaming.log.scan import read_range

log = logging.getLogger(__name__)

REFUSED = MetricCounter(
    "hsnn_dead_letters_refused_total", "Dead letters that the log refused twice; their records are where they were."
)

# Places named in one line of the log.
_NAMED = 20

# Ending of the topic of dead letters, after the name of their own topic.
SUFFIX = ".dlq"
TRUNCATED = "hsnn-truncated-from"
"""Header of a dead letter that holds less than the original record, with the bytes that that has."""

WHOLE_RECORD = -1
"""Index of a dead letter that is a whole record, one that should have held several events."""

# Characters: a validation error that quotes its input may be as long as the event.
_MAX_DETAIL = 500

# Bytes of key, value and the producer's headers. Kafka's default limit of a message is 1 MiB, headers included; the
# rest is for the headers with reason and source.
_MAX_BYTES = 1_000_000

# Bytes that a header takes beside its name and value, in either log's encoding, rounded up.
_HEADER_OVERHEAD = 16

# Newest dead letters of each partition that are read at a start. Several source partitions may share the partition; the
# newest letter of each is expected among them.
_RECENT = 1000

Source = tuple[int, int]
"""(offset, index) in the source partition."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event that could not be decoded or validated: its record and index there, a reason, an explanation."""

    record: Record
    index: int
    reason: str
    detail: str


def to_record(letter: DeadLetter, partitions: int) -> ProducerRecord:
    """Turn a dead letter into a record: original key, value and headers, then headers with reason and source."""
    record = letter.record
    value = record.value
    if letter.index != WHOLE_RECORD:
        from hsnn.streaming.schema.arrow import extract_row  # who reads dead letters alone needs no pyarrow

        value = extract_row(value, letter.index)
    headers = [
        ("hsnn-reason", letter.reason),
        ("hsnn-detail", letter.detail[:_MAX_DETAIL]),
        ("hsnn-topic", record.topic),
        ("hsnn-partition", str(record.partition)),
        ("hsnn-offset", str(record.offset)),
        ("hsnn-index", str(letter.index)),
    ]
    key, original_headers = record.key, record.headers
    if letter.reason == DeadLetterReason.UNREADABLE:
        original_headers = ()
        headers.append((TRUNCATED, "0"))  # what the batch held is where it was, and is not sent again
    size = len(key or b"") + len(value or b"") + _size(original_headers)
    if size > _MAX_BYTES:
        headers.append((TRUNCATED, str(len(value or b"") or size)))
        key, value, original_headers = _truncate(key, value, original_headers)
    own_headers = tuple((name, text.encode(errors="backslashreplace")) for name, text in headers)
    # Kafka's client refuses a record that has neither key nor value.
    key = b"" if key is value is None else key
    partition = record.partition % partitions
    return ProducerRecord(key, value, original_headers + own_headers, partition=partition)


def shortened(record: ProducerRecord) -> ProducerRecord:
    """Return a dead letter without what it was made of: source and reason are left."""
    own = tuple((name, content) for name, content in record.headers if name.startswith("hsnn-") and name != TRUNCATED)
    size = (TRUNCATED, str(len(record.value or b"")).encode())
    return ProducerRecord(b"", None, (*own, size), partition=record.partition)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(content) + _HEADER_OVERHEAD for name, content in headers)


def _truncate(key: bytes | None, value: bytes | None, headers: Headers) -> tuple[bytes | None, bytes | None, Headers]:
    """Make a record small enough for any broker: keep as much of the value as fits beside headers and key."""
    if len(key or b"") + _size(headers) > _MAX_BYTES:
        headers = ()
    key = key and key[:_MAX_BYTES]
    return key, value and value[: _MAX_BYTES - len(key or b"") - _size(headers)], headers


class DeadLetterWriter:
    """Appends dead letters to ``TOPIC.dlq``, each source position once.

    After a restart, events past the checkpoint are read again. Dead letters of one source partition are written in the
    order of their positions and into one partition, so the newest one there tells which were written. It is ignored if
    its source lies beyond the end of the source partition: that topic was recreated since.

    A log that refuses letters (too large, no room, a missing right) gets them once more without their content. What it
    refuses again is named in this process's log and counted; the records are where they were, and reading goes on.

    Parameters
    ----------
    event_log
        For the writer alone: it seeks, to read the newest dead letters.
    """

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._partitions: dict[str, int] = {}
        self._written: dict[Position, Source] = {}
        self._unflushed: dict[str, list[ProducerRecord]] = {}
        self._refused: AppendRefusedError | None = None

    def load_written(self, topics: Iterable[str]) -> None:
        """Find out which source positions of these topics were written before; call it before the log is read."""
        for topic in topics:
            dead_letter_partitions = self._log.partitions(topic + SUFFIX)
            if dead_letter_partitions:
                self._partitions[topic] = len(dead_letter_partitions)
                newest = _newest_sources(self._log, topic, dead_letter_partitions)
                existing = set(self._log.partitions(topic))
                ends = self._log.end_positions([position for position in newest if position[1] in existing])
                self._written.update({p: newest[p] for p, end in ends.items() if newest[p][0] < end})

    def forget(self, position: Position) -> None:
        """Forget what was written of a source partition whose offsets start again."""
        self._written.pop(position, None)

    def write(self, letters: Iterable[DeadLetter]) -> int:
        """Append the letters that were not written before; return how many."""
        unwritten: dict[str, list[ProducerRecord]] = {}
        reasons: Counter[str] = Counter()
        for letter in letters:
            topic, position, source = letter.record.topic, letter.record[:2], (letter.record.offset, letter.index)
            if source > self._written.get(position, (-1, WHOLE_RECORD)):
                unwritten.setdefault(topic, []).append(to_record(letter, self._partitions_of(topic)))
                self._written[position] = source
                reasons[letter.reason] += 1
        for topic, records in unwritten.items():
            self._unflushed.setdefault(topic, []).extend(records)
            self._append(topic, records)
        if reasons:
            log.warning("dead letters: %s", ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
        return sum(reasons.values())

    def flush(self) -> None:
        """Wait until the dead letters are durable; positions past them must not be committed before."""
        if not self._unflushed:
            return
        letters, refused = self._unflushed, self._flush()
        if refused is not None:
            log.error("dead letters are refused, and are sent once more without their content: %s", refused)
            for topic, records in letters.items():
                self._append(topic, [shortened(record) for record in records])
            refused = self._flush()
        if refused is not None:
            places = [_place(record) for records in letters.values() for record in records]
            REFUSED.inc(len(places))
            named = ", ".join(places[:_NAMED]) + (", ..." if len(places) > _NAMED else "")
            log.error("%d dead letters are refused (%s); the records are at %s", len(places), refused, named)
        self._unflushed = {}

    def _append(self, topic: str, records: list[ProducerRecord]) -> None:
        try:
            self._log.append(topic + SUFFIX, records)
        except AppendRefusedError as error:
            self._refused = error

    def _flush(self) -> AppendRefusedError | None:
        """Flush; return the refusal of anything that was appended since the last time."""
        try:
            self._log.flush()
        except AppendRefusedError as error:
            self._refused = error
        refused, self._refused = self._refused, None
        return refused

    def _partitions_of(self, topic: str) -> int:
        if topic not in self._partitions:
            self._log.create_topic(topic + SUFFIX, max(1, len(self._log.partitions(topic))))
            self._partitions[topic] = len(self._log.partitions(topic + SUFFIX))
        return self._partitions[topic]


def _place(record: ProducerRecord) -> str:
    """Say where the record of a dead letter is, and what is wrong with it."""
    topic, partition, offset, index, reason = (
        dict(record.headers)[f"hsnn-{name}"].decode() for name in ("topic", "partition", "offset", "index", "reason")
    )
    return (
        f"{topic}/{partition} offset {offset}" + (f" row {index}" if index not in ("0", "-1") else "") + f" ({reason})"
    )


def _newest_sources(event_log: EventLog, topic: str, partitions: list[int]) -> dict[Position, Source]:
    """Return the highest source position per source partition among the newest dead letters."""
    positions = [(topic + SUFFIX, partition) for partition in partitions]
    begin, end = event_log.begin_positions(positions), event_log.end_positions(positions)
    newest: dict[Position, Source] = {}
    for record in read_range(event_log, {p: max(begin[p], end[p] - _RECENT) for p in positions}, end):
        parsed = source_of(dict(record.headers))
        if parsed is not None and parsed[0][0] == topic:
            position, source = parsed
            newest[position] = max(source, newest.get(position, source))
    return newest


def source_of(headers: Mapping[str, bytes]) -> tuple[Position, Source] | None:
    """Read partition and source position of a dead letter from its headers; None for a foreign record."""
    try:
        position = headers["hsnn-topic"].decode(), int(headers["hsnn-partition"])
        return position, (int(headers["hsnn-offset"]), int(headers["hsnn-index"]))
    except (KeyError, ValueError):
        return None
