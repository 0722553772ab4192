from __future__ import annotations

import json

import pytest

from hsnn.serving.errors import RequestError
from hsnn.serving.ingest.events import EventParser, IngestBatch
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import RowKind
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.partitioner import partition_of
from hsnn.streaming.log.records import Record, RecordBatch
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.topics import TopicRole

NOW = 1_700_000_000_000


def click(number: int = 1, **fields) -> dict:
    event = {"type": "interaction", "id": number, "ts": NOW, "user": "u", "item": "a", "action": "click", **fields}
    return {name: value for name, value in event.items() if value is not ...}


def parse(body, content_type: str = "application/json", **options) -> IngestBatch:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return EventParser(600_000).parse(body, content_type, NOW, **options)


def stored(batch: IngestBatch) -> list[dict]:
    return [json.loads(record.value) for record in batch.records[TopicRole.ENGAGEMENTS]]


def as_records(role: TopicRole, records: list[ProducerRecord]) -> RecordBatch:
    return RecordBatch.from_records(
        [Record(role.value, 0, n, one.key, one.value, one.headers, one.sent_at) for n, one in enumerate(records)]
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps(click()).encode(), "application/json"),
        (json.dumps([click()], indent=1).encode(), "text/plain;charset=UTF-8"),
        (json.dumps(click()).encode() + b"\n", "application/x-ndjson; charset=utf-8"),
        (json.dumps(click()).encode(), ""),
    ],
)
def test_one_or_many_as_json_or_as_lines(body, kind):
    (record,) = parse(body, kind).records[TopicRole.ENGAGEMENTS]
    assert (record.key, record.sent_at, json.loads(record.value)) == (b"u", NOW, click())


def test_events_go_to_the_topics_of_their_types_by_their_own_ids():
    impression = {"type": "impression", "id": 5, "ts": NOW, "user": 7, "items": ["a", "b"]}
    item, patch = ({"type": kind, "id": 9, "ts": NOW, "features": {"n": 1}} for kind in ("item", "item_patch"))
    batch = parse([click(), impression, item, patch, {"type": "user", "id": "x", "ts": NOW}])
    keys = {role: [record.key for record in records] for role, records in batch.records.items()}
    assert keys == {TopicRole.ENGAGEMENTS: [b"u", b"7"], TopicRole.ITEMS: [b"9", b"9"], TopicRole.USERS: [b"x"]}
    for role, records in batch.records.items():
        assert RowKind.DEAD not in decode_records(role, as_records(role, records)).kind
    assert len(batch) == 5


def test_an_event_without_a_time_happened_when_it_arrived():
    assert stored(parse(click(ts=...))) == [click()]
    assert stored(parse([click(ts=..., context={"ts": 4})])) == [click(context={"ts": 4})]


def test_a_recommendation_is_the_impression_that_an_action_answers():
    shown = {"type": "impression", "recommendation_id": "r", "ts": NOW, "user": "u", "items": ["a"]}
    events = stored(parse([shown, click(recommendation_id="r"), click(2, recommendation_id="r", impression="own")]))
    assert [event.get("impression") for event in events] == [None, "r", "own"]
    assert events[0]["id"] == "r"
    assert not any("recommendation_id" in event for event in events)
    assert stored(parse(click(recommendation_id=None))) == [click()]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (click(user=...), "missing required field `user`"),
        (click(id=...), "missing required field `id`"),
        (click(user=""), "length >= 1"),
        (click(10**300), "more than 256 digits"),
        (click(value=1e39), "at most 3.4e"),
        (click(ts=NOW // 1000), "looks like seconds"),
        (click(ts=NOW + 700_000), "700 s ahead of this server's clock"),
        (click(type="purchase"), "purchase"),
        (click(ts=..., user=3.5), "got `float`"),
        (click(context={"x": "y" * 1_100_000}), "1048576"),
        ("text", "Expected `object`"),
    ],
)
def test_an_invalid_event_refuses_the_call_and_is_named(event, why):
    with pytest.raises(RequestError, match="1 of 2 events are invalid, and none was taken: event 1: ") as refused:
        parse([click(), event])
    assert why in str(refused.value)


def test_only_the_first_invalid_events_are_named():
    with pytest.raises(RequestError, match=r"7 of 7 .* event 4: .*; and 2 more"):
        parse([click(user=...)] * 7)


@pytest.mark.parametrize("body", [b"", b"?", b"\xff", b'{"type":', b"[" * 100_000, b'{"a": 1}\n{"a": 2}'])
def test_what_is_no_json_is_refused(body):
    with pytest.raises(RequestError, match="no event, array"):
        parse(body)


@pytest.mark.parametrize(("body", "kind"), [(b"[]", ""), (b"\n", "application/x-ndjson")])
def test_a_body_without_events_is_refused(body, kind):
    with pytest.raises(RequestError, match="holds no event"):
        parse(body, kind)


def test_pages_send_engagements_only():
    with pytest.raises(RequestError, match="interactions and impressions only"):
        parse({"type": "item", "id": "a", "ts": NOW}, engagements_only=True)
    assert len(parse(click(), engagements_only=True)) == 1


def test_engagements_of_a_partition_are_one_record_in_their_order():
    events = [click(number, user=f"u{number % 7}", context={"text": "ä, []"}) for number in range(60)]
    events[5] = {"type": "impression", "id": "s", "ts": NOW, "user": "u5", "items": ["a"]}
    lonely = click("lonely", user="u100")
    batch = parse([*events, lonely])
    records = batch.engagement_records(4096)  # so many that no two of these users share one
    assert len(records) == 8
    assert records[-1] == ProducerRecord(b"u100", json.dumps(lonely).encode(), (), NOW)
    for record in records:
        table = decode_records(TopicRole.ENGAGEMENTS, as_records(TopicRole.ENGAGEMENTS, [record]))
        (user,) = set(table.user)
        assert record.partition in (None, partition_of(user.encode(), 4096))
        assert table.event_id.tolist() == [str(one["id"]) for one in [*events, lonely] if one["user"] == user]
        assert set(table.sent_at) == {NOW}


def test_a_record_takes_no_more_events_than_brokers_take():
    batch = parse([click(number, context={"text": "x" * 400}) for number in range(5000)])
    records = batch.engagement_records(4)
    assert all(50_000 < len(record.value) < 110_000 for record in records[:-1])
    tables = [decode_records(TopicRole.ENGAGEMENTS, as_records(TopicRole.ENGAGEMENTS, [one])) for one in records]
    assert [name for table in tables for name in table.event_id] == [str(number) for number in range(5000)]
    large = parse([click(context={"text": "x" * 900_000}), click(2)]).engagement_records(1)
    assert [record.key for record in large] == [b"u", b"u"]


def test_events_decoded_together_are_checked_as_each_alone_is():
    """The second body has an event without a time in it, so it takes the other way through the parser."""
    numbered = [click(number, user=number, impression=number) for number in range(3)]
    together, alone = parse(numbered), parse([*numbered, click(3, ts=...)])
    assert together.records[TopicRole.ENGAGEMENTS] == alone.records[TopicRole.ENGAGEMENTS][:3]
    lines = b"\n".join(json.dumps(event).encode() for event in numbered)
    assert parse(lines, "application/x-ndjson") == together


def test_arrow_is_divided_among_the_partitions_of_the_users():
    users = [f"u{number % 7}" for number in range(100)]
    ids, items = [str(number) for number in range(100)], [f"i{number}" for number in range(100)]
    values = [None if number % 2 else 1.5 for number in range(100)]
    body = write_interactions([NOW] * 100, users, items, ["click"] * 100, value=values, id=ids)
    batch = parse(body, "application/vnd.apache.arrow.stream")
    assert len(batch) == 100
    found = set()
    for record in batch.engagement_records(4):
        table = decode_records(TopicRole.ENGAGEMENTS, as_records(TopicRole.ENGAGEMENTS, [record]))
        assert {partition_of(user.encode(), 4) for user in table.user} == {record.partition}
        found |= set(zip(table.event_id, table.user, table.item, table.value.astype(str), strict=True))
    wanted = zip(ids, users, items, ["nan" if value is None else "1.5" for value in values], strict=True)
    assert found == set(wanted)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({}, "column id"),
        ({"id": ["1", None]}, "column id"),
        ({"id": ["1", "2"], "ts": [NOW, NOW + 700_000]}, "event 1: `ts` is 700 s ahead"),
        ({"id": ["1", "2"], "ts": [NOW // 1000, NOW]}, "event 0: `ts` is 1700000000: it looks like seconds"),
        ({"id": ["1", "2"], "user": ["", "u"]}, "event 0: `user` has 0 characters"),
    ],
)
def test_arrow_that_cannot_be_taken(columns, why):
    defaults = {"ts": [NOW, NOW], "user": ["u", "v"], "item": ["a", "b"], "action": ["click", "click"]}
    with pytest.raises(RequestError) as refused:
        parse(write_interactions(**(defaults | columns)))
    assert why in str(refused.value)


def test_damaged_arrow_is_refused():
    with pytest.raises(RequestError, match="Arrow"):
        parse(write_interactions([NOW], ["u"], ["a"], ["click"], id=["1"])[:40])
