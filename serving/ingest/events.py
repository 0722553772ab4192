"""Parse bodies of events: as JSON, JSON lines or Arrow, each event checked as the consumer of the log checks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from hsnn.monitoring.errors import missing_package
from hsnn.serving.errors import RequestError
from hsnn.streaming.decode.json_event import MAX_JSON, InvalidEvent, canonicalize_ids, parse_event
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.partitioner import partition_of
from hsnn.streaming.schema.columns import ArrowError, InteractionColumns, is_arrow
from hsnn.streaming.schema.events import Event, EventType, Impression, Interaction, Item, ItemPatch, User
from hsnn.streaming.schema.json_array import join_events
from hsnn.streaming.schema.timestamps import YEAR_1990, require_millis
from hsnn.streaming.schema.topics import TopicRole

# Events of a body that a refusal names, so that the text stays readable.
_NAMED = 5

_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")

# Bytes of the events that are joined to one record: a tenth of what brokers take by default.
_ARRAY_BYTES = 100_000

# Epoch ms: a time from then on to now is no other unit's.
_EARLIEST_MILLIS = YEAR_1990 * 1000

_RECOMMENDATION = "recommendation_id"

_ROLES: dict[type, TopicRole] = {
    Interaction: TopicRole.ENGAGEMENTS,
    Impression: TopicRole.ENGAGEMENTS,
    Item: TopicRole.ITEMS,
    ItemPatch: TopicRole.ITEMS,
    User: TopicRole.USERS,
}

# Types of the engagements, whose key is their user.
_BY_USER = (Interaction, Impression)

_raw: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)
_raw_list: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_event_list: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(list[Event])
_event_lines: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_fields: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(slots=True)
class IngestBatch:
    """The events of one call, ready to be appended.

    Attributes
    ----------
    records
        An event each, by what their topic is for.
    columns
        Interactions that came as Arrow.
    sent_at
        Time of the call, epoch ms.
    """

    sent_at: int
    records: dict[TopicRole, list[ProducerRecord]] = field(default_factory=dict)
    columns: InteractionColumns | None = None

    def __len__(self) -> int:
        return sum(map(len, self.records.values())) + self.rows

    @property
    def rows(self) -> int:
        """Number of interactions that came as Arrow."""
        return 0 if self.columns is None else len(self.columns.ts)

    def add(self, role: TopicRole, record: ProducerRecord) -> None:
        """Add an event."""
        self.records.setdefault(role, []).append(record)

    def engagement_records(self, partitions: int) -> list[ProducerRecord]:
        """Return interactions and impressions in as few records as they fit into: those of a partition are one."""
        records = _pack(self.records.get(TopicRole.ENGAGEMENTS, []), partitions)
        if self.columns is None:
            return records
        from hsnn.streaming.producer.records import columns_to_arrow_records  # pyarrow has read the columns

        return records + columns_to_arrow_records(self.columns, self.sent_at, partitions)


class EventParser:
    """Parses the events of calls.

    Parameters
    ----------
    max_future
        Milliseconds that an event may be ahead of the moment at which it arrives.

    Examples
    --------
    >>> body = b'{"type": "interaction", "id": 1, "user": 7, "item": "a", "action": "click"}'
    >>> batch = EventParser(600_000).parse(body, "application/json", now=1_700_000_000_000)
    >>> batch.records[TopicRole.ENGAGEMENTS][0].key
    b'7'
    """

    def __init__(self, max_future: int) -> None:
        self._max_future = max_future

    def parse(
        self, body: bytes | bytearray, content_type: str, now: int, *, engagements_only: bool = False
    ) -> IngestBatch:
        """Parse a body: one event, an array of events, JSON lines, or Arrow; all of it or nothing.

        An event without `ts` happened at `now`, epoch ms. A `recommendation_id` becomes the id of an impression, and
        the impression that an interaction answers.

        Raises
        ------
        RequestError
            Events are invalid; the text names the first of them by their index in the body.
        """
        kind = content_type.partition(";")[0].strip().lower()
        if is_arrow(bytes(body[:6])):
            return self._parse_arrow(bytes(body), now)
        batch, problems, lines = IngestBatch(now), [], kind in _LINES
        add: dict[type, Callable[[ProducerRecord], None]] = {}  # by type: hashing a role for each event is slow
        values = _split(body, lines=lines)
        # Decoded together they take half of the time; what cannot be decoded like that is decoded one by one.
        decoded = _decode_all(body, lines=lines) if max(map(len, values), default=0) <= MAX_JSON else None
        for index, value in enumerate(values):
            try:
                if decoded is None:
                    event, record_value = self._event(bytes(value), now)
                else:
                    event, record_value = self.check(decoded[index], now), bytes(value)
            except (InvalidEvent, ValueError) as error:
                problems.append(f"event {index}: {error}")
                continue
            if engagements_only and not isinstance(event, _BY_USER):
                problems.append(f"event {index}: an ingest key may send interactions and impressions only")
                continue
            if (event_type := type(event)) not in add:
                add[event_type] = batch.records.setdefault(_ROLES[event_type], []).append
            add[event_type](ProducerRecord(_key(event), record_value, (), now))
        _refuse(problems, len(values))
        return batch

    def check(self, event: Event, now: int) -> Event:
        """Return an event with ids as text.

        Raises
        ------
        ValueError
            An id, a value or a time is out of range.
        """
        if not _EARLIEST_MILLIS <= event.ts <= now:
            require_millis(event.ts, "ts")
        if event.ts > now + self._max_future:
            raise ValueError(
                f"`ts` is {(event.ts - now) / 1000:.0f} s ahead of this server's clock; leave it out to have the "
                "time of arrival"
            )
        return canonicalize_ids(event)

    def _event(self, value: bytes, now: int) -> tuple[Event, bytes]:
        """Return an event, and the record's value: what was sent, where nothing had to be filled in."""
        if b'"recommendation_id"' not in value:
            try:
                return self.check(parse_event(value), now), value
            except InvalidEvent:  # perhaps because something is left out
                pass
        value = _complete(value, now)
        return self.check(parse_event(value), now), value

    def _parse_arrow(self, body: bytes, now: int) -> IngestBatch:
        try:  # a server that gets JSON alone needs no pyarrow, which takes half a second to import
            from hsnn.streaming.schema.arrow import read_interactions
        except ModuleNotFoundError as error:
            raise RequestError(
                f"{missing_package(error) or error}; or send the events as JSON lines (application/x-ndjson)"
            ) from None
        try:
            columns = read_interactions(body)
        except ArrowError as error:
            raise RequestError(str(error)) from None
        if columns.id is None or (columns.id == None).any():  # noqa: E711 - elementwise
            raise RequestError(
                "the column id must be there and have no nulls: a call that is repeated counts once by it"
            )
        reasons = {row: reason for (_, row), reason in columns.left_out.items()} | columns.rejected
        problems = [f"event {row}: {reason}" for row, reason in sorted(reasons.items())]
        if not problems and len(columns.ts):
            for row in (int(np.argmin(columns.ts)), int(np.argmax(columns.ts))):
                try:
                    self.check(Interaction(ts=int(columns.ts[row]), id="-", user="-", item="-", action="-"), now)
                except ValueError as error:
                    problems.append(f"event {row}: {error}")
        _refuse(problems, len(columns.ts))
        return IngestBatch(now, columns=columns)


def _key(event: Event) -> bytes:
    """Return the key of an event's record: its user's, item's or own id."""
    return str(event.user if isinstance(event, _BY_USER) else event.id).encode()


def _pack(records: Sequence[ProducerRecord], partitions: int) -> list[ProducerRecord]:
    """Join the events of each partition to arrays, in their order; a lone one stays as it is."""
    runs: dict[int, list[ProducerRecord]] = {}
    sizes: dict[int, int] = {}
    packed: list[ProducerRecord] = []
    for record in records:
        partition = partition_of(record.key or b"", partitions)
        size = len(record.value or b"") + sizes.get(partition, 0)
        if size > _ARRAY_BYTES and partition in runs:
            packed.append(_joined(runs.pop(partition), partition))
            size = len(record.value or b"")
        sizes[partition] = size
        runs.setdefault(partition, []).append(record)
    return packed + [_joined(run, partition) for partition, run in runs.items()]


def _joined(run: Sequence[ProducerRecord], partition: int) -> ProducerRecord:
    if len(run) == 1:
        return run[0]
    value = join_events([record.value or b"" for record in run])
    return ProducerRecord(None, value, sent_at=run[0].sent_at, partition=partition)


def _decode_all(body: bytes | bytearray, *, lines: bool) -> Sequence[Event] | None:
    """Decode all events of a body, or return None: something is invalid, or has to be filled in."""
    if b'"recommendation_id"' in body:
        return None
    try:
        return _event_lines.decode_lines(body) if lines else _event_list.decode(body)
    except Exception:
        return None  # whatever it was, decoding one by one names it


def _split(body: bytes | bytearray, *, lines: bool) -> Sequence[msgspec.Raw]:
    try:
        if lines:
            return _raw.decode_lines(body)
        return _raw_list.decode(body) if body.lstrip()[:1] == b"[" else [_raw.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "" if lines else "; send JSON lines as application/x-ndjson"
        raise RequestError(f"the body is no event, array of events or Arrow stream: {error}{hint}") from None


def _complete(value: bytes, now: int) -> bytes:
    """Fill in what an event over HTTP may leave out; the value itself if it is no object with texts as names."""
    try:
        fields = _fields.decode(value)
        kind = msgspec.json.decode(fields.get("type", b"null"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return value  # parsing it says what is wrong
    fields.setdefault("ts", msgspec.Raw(b"%d" % now))
    recommendation = fields.pop(_RECOMMENDATION, None)
    if recommendation is not None and bytes(recommendation) != b"null":
        if kind == EventType.IMPRESSION.value:
            fields["id"] = recommendation
        elif kind == EventType.INTERACTION.value:
            fields.setdefault("impression", recommendation)
    return msgspec.json.encode(fields)


def _refuse(problems: Sequence[str], events: int) -> None:
    if not events:
        raise RequestError("the body holds no event; send an event, an array of events, JSON lines or Arrow")
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        text = "; ".join(_first(problems))
        raise RequestError(f"{len(problems)} of {events} events are invalid, and none was taken: {text}{more}")


def _first(problems: Sequence[str]) -> Iterable[str]:
    # Each is cut, so that one long text does not hide the others.
    return (problem if len(problem) <= 160 else problem[:157] + "..." for problem in problems[:_NAMED])
