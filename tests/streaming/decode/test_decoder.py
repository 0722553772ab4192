"""Whatever is in a record, it becomes rows: events, or dead letters that say why."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hsnn.streaming.dead_letters.writer import WHOLE_RECORD, DeadLetter
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import EventTable, RowKind
from hsnn.streaming.decode.json_event import MAX_JSON
from hsnn.streaming.log.records import Record, RecordBatch
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.events import ItemDeletion
from hsnn.streaming.schema.topics import TopicRole

GOOD: dict[str, Any] = {"type": "interaction", "id": 1, "ts": 5, "user": 7, "item": "a", "action": "click"}
OTHERS: dict[str, dict[str, Any]] = {
    "impression": {"type": "impression", "id": "x", "ts": 5, "user": 7, "items": [1, "b"]},
    "item": {"type": "item", "id": 3, "ts": 5, "features": {"genres": ["x", "y"]}},
    "user": {"type": "user", "id": 4, "ts": 5},
}


def record(value: bytes | None, offset: int = 0, key: bytes | None = b"k", **more: Any) -> Record:
    return Record(more.get("topic", "engagements"), 0, offset, key, value, more.get("headers", ()), 1_000)


def decoded(role: TopicRole, records: list[Record]) -> EventTable:
    return decode_records(role, RecordBatch.from_records(records))


def facts(rows: EventTable) -> list[list[Any]]:
    """Objects of each row, its record in place of what holds it."""
    columns = rows.user, rows.item, rows.action, rows.context, rows.payload, rows.event_id
    objects = zip(*(column.tolist() for column in columns), strict=True)
    return [[*values, rows.record(row)] for row, values in enumerate(objects)]


def numbers(rows: EventTable) -> list[list[int]]:
    """Return all numbers of each row but the value."""
    places = rows.offset, rows.index, rows.ends_record, rows.order_key, rows.partition, rows.watermark
    return np.stack([rows.ts, rows.sent_at, rows.kind, *places], axis=1).tolist()


def one(role: TopicRole, value: bytes | None, **more: Any) -> tuple[RowKind, Any, EventTable]:
    rows = decoded(role, [record(value, **more)])
    assert len(rows) == 1
    return RowKind(rows.kind[0]), rows.payload[0], rows


def written(event: Any, **changes: Any) -> bytes:
    return json.dumps({**event, **changes}).encode()


def test_an_interaction_becomes_columns() -> None:
    kind, _, rows = one(TopicRole.ENGAGEMENTS, written(GOOD, value=2.5, context={"hour": 3}, colour="red"), offset=9)
    assert kind is RowKind.INTERACTION
    assert [rows.user[0], rows.item[0], rows.action[0], rows.context[0]] == ["7", "a", "click", {"hour": 3}]
    assert [rows.ts[0], rows.offset[0], rows.index[0], rows.ends_record[0]] == [5, 9, 0, True]
    assert rows.value.tolist() == [2.5]


def test_ids_are_text_whichever_way_they_were_written() -> None:
    rows = decoded(TopicRole.ENGAGEMENTS, [record(written(GOOD, user=user)) for user in (7, "7", "é", -1)])
    assert rows.user.tolist() == ["7", "7", "é", "-1"]
    assert np.isnan(rows.value).all()


def test_one_by_one_and_all_at_once_agree() -> None:
    """The second list has an impression in it, so it takes the other way through the decoder."""
    values = [written(GOOD, user=i, value=i / 3, context={"a": i} if i % 2 else None, ts=i) for i in range(9)]
    fast = decoded(TopicRole.ENGAGEMENTS, [record(value, i) for i, value in enumerate(values)])
    slow = decoded(
        TopicRole.ENGAGEMENTS, [record(value, i) for i, value in enumerate([*values, written(OTHERS["impression"])])]
    )
    assert numbers(fast) == numbers(slow)[:9]
    assert facts(fast) == facts(slow)[:9]
    assert np.array_equal(fast.value, slow.value[:9])


def test_each_type_has_its_topic() -> None:
    kind, impression, _ = one(TopicRole.ENGAGEMENTS, written(OTHERS["impression"]))
    assert kind is RowKind.IMPRESSION
    assert (impression.id, impression.user, impression.items) == ("x", "7", ["1", "b"])
    assert [
        one(TopicRole.ITEMS, written(OTHERS["item"]))[1].id,
        one(TopicRole.USERS, written(OTHERS["user"]))[1].id,
    ] == [
        "3",
        "4",
    ]


@pytest.mark.parametrize(
    ("role", "value", "reason"),
    [
        (TopicRole.ENGAGEMENTS, b"", "malformed"),
        (TopicRole.ENGAGEMENTS, b"{", "malformed"),
        (TopicRole.ENGAGEMENTS, b"\xff\xfe", "malformed"),
        (TopicRole.ENGAGEMENTS, written(GOOD)[:-1] + b',"value":NaN}', "malformed"),
        (TopicRole.ENGAGEMENTS, written(GOOD, value=float("inf")), "malformed"),
        (TopicRole.ENGAGEMENTS, written(GOOD, user="\ud800"), "malformed"),
        (TopicRole.ENGAGEMENTS, written(GOOD, user="~").replace(b"~", b"\xed\xa0\x80"), "bad_text"),
        (TopicRole.ENGAGEMENTS, written(GOOD)[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (TopicRole.ENGAGEMENTS, written(GOOD, x="y" * MAX_JSON), "too_large"),
        (TopicRole.ENGAGEMENTS, b"[]", "invalid"),
        (TopicRole.ENGAGEMENTS, b"null", "invalid"),
        (TopicRole.ENGAGEMENTS, written(GOOD, type="purchase"), "unknown_type"),
        (TopicRole.ENGAGEMENTS, written(GOOD, type=None), "unknown_type"),
        (TopicRole.ENGAGEMENTS, b'{"id":1,"ts":5,"user":7,"item":"a","action":"click"}', "invalid"),
        (TopicRole.ENGAGEMENTS, written(GOOD, ts="5"), "invalid"),
        (TopicRole.ENGAGEMENTS, written(GOOD, ts=-1), "invalid"),
        (TopicRole.ENGAGEMENTS, written(GOOD, ts=10**15), "invalid"),
        (TopicRole.ITEMS, b'{"type":"item","ts":-1,"id":Infinity}', "invalid"),  # no JSON after the first error
        (TopicRole.ENGAGEMENTS, written(GOOD, user=""), "invalid"),
        (TopicRole.ENGAGEMENTS, written(GOOD, user=True), "invalid"),
        (TopicRole.ENGAGEMENTS, written(GOOD, item="i" * 257), "invalid"),
        (TopicRole.ENGAGEMENTS, written(GOOD, item=10**300), "invalid"),
        (TopicRole.ENGAGEMENTS, written(OTHERS["impression"], items=[]), "invalid"),
        (TopicRole.ENGAGEMENTS, written(OTHERS["item"]), "wrong_topic"),
        (TopicRole.ITEMS, written(GOOD), "wrong_topic"),
        (TopicRole.USERS, written(OTHERS["item"]), "wrong_topic"),
        (TopicRole.ENGAGEMENTS, None, "empty"),
        (TopicRole.ENGAGEMENTS, b"\xff\xff\xff\xff\x00", "arrow"),
        (TopicRole.ITEMS, write_interactions([5], ["u"], ["i"], ["click"]), "arrow"),
    ],
)
def test_what_cannot_be_believed_says_why(role: TopicRole, value: bytes | None, reason: str) -> None:
    kind, letter, rows = one(role, value, offset=4)
    assert kind is RowKind.DEAD
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.record.value, letter.record.offset) == (reason, value, 4)
    assert letter.detail
    assert rows.ts[0] == -1


@pytest.mark.parametrize("rest", [b"Infinity}", b'"\xff"}', b"[" * 100_000, b"1e999}", b""])
def test_what_follows_a_time_that_is_refused_may_be_anything(rest: bytes) -> None:
    kind, _, _ = one(TopicRole.ITEMS, b'{"type": "interaction", "ts": -1, "user": ' + rest)
    assert kind is RowKind.DEAD


def test_a_bad_record_does_not_take_its_neighbours_along() -> None:
    values = [written(GOOD, user=i) if i % 3 else b"?" for i in range(10)]
    rows = decoded(TopicRole.ENGAGEMENTS, [record(value, i) for i, value in enumerate(values)])
    assert (rows.kind == RowKind.DEAD).tolist() == [i % 3 == 0 for i in range(10)]
    assert rows.offset.tolist() == list(range(10))


def test_confluents_prefix_is_left_out() -> None:
    prefix = b"\x00\x00\x00\x00\x07"
    assert one(TopicRole.ENGAGEMENTS, prefix + written(GOOD))[0] is RowKind.INTERACTION
    assert (
        one(TopicRole.ENGAGEMENTS, prefix + write_interactions([5], ["u"], ["i"], ["click"]))[0] is RowKind.INTERACTION
    )
    assert one(TopicRole.ENGAGEMENTS, prefix)[1].reason == "malformed"


def test_a_null_value_deletes_what_the_key_names() -> None:
    kind, name, rows = one(TopicRole.ITEMS, None, key="é7".encode(), headers=(("ts", b"1234"),))
    assert (kind, name, rows.ts[0]) == (RowKind.DELETED_ITEM, ItemDeletion("é7", 1234), 1234)
    kind, name, rows = one(TopicRole.USERS, None, key=b"u", headers=(("ts", b"soon"),))
    assert (kind, name, rows.ts[0]) == (RowKind.DELETED_USER, "u", 1000)
    for key in (None, b"", b"\xff", b"x" * 300):
        assert one(TopicRole.ITEMS, None, key=key)[1].reason == "no_key"


def test_commands_pass_as_they_are() -> None:
    kind, payload, rows = one(TopicRole.CONTROL, b'{"op":"split","ts":77}')
    assert (kind, payload, rows.ts[0]) == (RowKind.CONTROL, b'{"op":"split","ts":77}', 77)
    for value in (b"?", b'{"ts":"x"}', b"[" * 100_000, b'{"ts":-9}'):
        kind, payload, rows = one(TopicRole.CONTROL, value)
        assert (kind, payload, rows.ts[0]) == (RowKind.CONTROL, value, -1)


def test_arrow_rows_lie_between_json_ones() -> None:
    arrow = write_interactions([1, 2, 3], ["u", "", "w"], ["a", "b", "c"], ["click"] * 3, value=[None, 1.0, 2.0])
    values = [written(GOOD), arrow, b"?", arrow[: len(arrow) // 2], written(GOOD)]
    rows = decoded(TopicRole.ENGAGEMENTS, [record(value, i) for i, value in enumerate(values)])
    assert rows.offset.tolist() == [0, 1, 1, 1, 2, 3, 4]
    assert rows.index.tolist() == [0, 0, 1, 2, 0, 0, 0]
    assert rows.ends_record.tolist() == [1, 0, 0, 1, 1, 1, 1]
    assert rows.kind.tolist() == [0, 0, RowKind.DEAD, 0, RowKind.DEAD, RowKind.DEAD, 0]
    assert rows.payload[2].index == 1
    assert rows.payload[5].index == WHOLE_RECORD
    assert rows.user[[1, 3]].tolist() == ["u", "w"]


def array(*values: bytes) -> bytes:
    return b" [" + b" , ".join(values) + b"]"


@pytest.mark.parametrize("invalid", [(), (written(GOOD, user=""),)], ids=["at once", "one by one"])
def test_events_of_an_array_are_those_of_records_of_their_own(invalid: tuple[bytes, ...]) -> None:
    events = [written(GOOD, id=i, value=i / 3, context={"a": i}) for i in range(5)]
    events[2] = written(OTHERS["impression"])
    values = [array(*events[:3]), events[3], array(events[4], *invalid)]
    rows = decoded(TopicRole.ENGAGEMENTS, [record(value, 7 + i) for i, value in enumerate(values)])
    alone = decoded(TopicRole.ENGAGEMENTS, [record(value, i) for i, value in enumerate([*events, *invalid])])
    assert rows.offset.tolist()[:5] == [7, 7, 7, 8, 9]
    assert rows.index.tolist()[:5] == [0, 1, 2, 0, 0]
    assert rows.ends_record.tolist() == ([0, 0, 1, 1, 0, 1] if invalid else [0, 0, 1, 1, 1])
    assert [row[:-2] for row in facts(rows)[:5]] == [row[:-2] for row in facts(alone)[:5]]
    assert rows.event_id.tolist() == alone.event_id.tolist()
    assert rows.kind.tolist() == alone.kind.tolist()
    assert [rows.record(row).value for row in range(5)] == [values[0]] * 3 + values[1:]
    if invalid:
        assert (rows.payload[5].index, rows.payload[5].record.value) == (1, values[2])


@pytest.mark.parametrize(
    ("role", "value"),
    [
        (TopicRole.ENGAGEMENTS, array()),
        (TopicRole.ENGAGEMENTS, array(written(GOOD))[:-1]),
        (TopicRole.ENGAGEMENTS, array(written(GOOD), written(GOOD, x="y" * MAX_JSON))),
        (TopicRole.ITEMS, array(written(OTHERS["item"]), written(OTHERS["item"], id="b"))),
    ],
    ids=["empty", "cut off", "too large", "of items"],
)
def test_an_array_that_is_none_of_engagements_is_one_dead_letter(role: TopicRole, value: bytes) -> None:
    kind, letter, _ = one(role, value)
    assert kind is RowKind.DEAD
    assert (letter.index, letter.record.value) == (WHOLE_RECORD, value)


def test_an_empty_arrow_record_is_passed() -> None:
    kind, _, rows = one(TopicRole.ENGAGEMENTS, write_interactions([], [], [], []))
    assert (kind, rows.ends_record[0]) == (RowKind.EMPTY, 1)


_ids = st.one_of(st.text(max_size=5), st.integers(), st.none(), st.floats(), st.booleans())
_events = st.fixed_dictionaries(
    {"type": st.sampled_from(["interaction", "impression", "item", "user", "x", 3]), "ts": st.integers() | _ids},
    optional={
        "user": _ids,
        "id": _ids,
        "item": _ids,
        "items": st.lists(_ids, max_size=3),
        "action": _ids,
        "value": _ids,
        "context": st.dictionaries(st.text(max_size=3), _ids, max_size=2),
        "features": _ids,
    },
)
_arrow = st.builds(
    lambda record, at, byte: record[:at] + bytes([byte]) + record[at + 1 :],
    st.just(write_interactions([1, 2], ["u", "v"], ["a", "b"], ["c", "d"], [1.0, None], [{"x": 1}, None])),
    st.integers(0, 2000),
    st.integers(0, 255),
)
_values = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.binary(max_size=40).map(lambda tail: b"\xff\xff\xff\xff" + tail),
    _events.map(lambda event: json.dumps(event).encode()),
    _events.map(lambda event: json.dumps(event, ensure_ascii=False).encode(errors="surrogatepass")),
    _events.map(lambda event: b"\x00abcd" + json.dumps(event).encode()),
    _arrow,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(_values, min_size=1, max_size=6), st.sampled_from(TopicRole))
@example([b'{"ts": 9223372036854775808}'], TopicRole.CONTROL)
def test_any_bytes_are_read_and_counted(values: list[bytes | None], role: TopicRole) -> None:
    rows = decoded(role, [record(value, i) for i, value in enumerate(values)])
    assert np.unique(rows.offset).tolist() == list(range(len(values)))
    assert int(rows.ends_record.sum()) == len(values)
    for at in range(len(rows)):
        if rows.kind[at] == RowKind.DEAD:
            assert rows.payload[at].record.value == values[rows.offset[at]]
        if rows.kind[at] == RowKind.INTERACTION:
            texts = rows.user[at], rows.item[at], rows.action[at]
            assert all(0 < len(text) <= 256 and text.encode() for text in texts)
            assert rows.ts[at] >= 0
            assert not np.isinf(rows.value[at])


_fields = st.fixed_dictionaries({"ts": st.integers(-2, 9), "user": st.sampled_from(["", "u", "é"])})


@st.composite
def _arrow(draw: st.DrawFn) -> bytes:
    rows = draw(st.lists(_fields, max_size=4))
    more = {"value": [1.5] * len(rows)} if draw(st.booleans()) else {}
    columns = [row["ts"] for row in rows], [row["user"] for row in rows], ["i"] * len(rows), ["click"] * len(rows)
    return write_interactions(*columns, **more)


_some = st.one_of(
    _arrow(),
    st.lists(st.sampled_from([written(GOOD), written(OTHERS["impression"]), b"?"]), max_size=4).map(
        lambda v: array(*v)
    ),
    st.sampled_from([written(GOOD), b"\xff\xff\xff\xff", b"?"]),
)


@pytest.mark.slow
@given(st.lists(_some, min_size=1, max_size=8))
@settings(deadline=None)
def test_records_read_together_are_what_each_is_alone(values: list[bytes]) -> None:
    records = [record(value, offset) for offset, value in enumerate(values)]
    together = decoded(TopicRole.ENGAGEMENTS, records)
    alone = [decoded(TopicRole.ENGAGEMENTS, [one]) for one in records]
    assert numbers(together) == [row for rows in alone for row in numbers(rows)]
    assert facts(together) == [row for rows in alone for row in facts(rows)]
    assert np.array_equal(together.value, np.concatenate([np.zeros(0), *(r.value for r in alone)]), equal_nan=True)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"ts": 1_700_000_000}, "`ts` is 1700000000: it looks like seconds"),
        ({"ts": 1, "expires_at": 1_700_000_000}, "`expires_at` is 1700000000: it looks like seconds"),
        ({"ts": 1, "available_from": 1_700_000_000}, "`available_from` is 1700000000: it looks like seconds"),
        ({"ts": 1_700_000_000_000_000}, "it looks like microseconds"),
        ({"ts": "2023-11-14T22:13:20Z"}, "ISO 8601 text; write epoch milliseconds: 1700000000000"),
    ],
)
@pytest.mark.parametrize("kind", ["item", "item_patch"])
def test_a_time_of_an_item_in_another_unit_is_named(kind: str, event: dict[str, Any], said: str) -> None:
    found, letter, _ = one(TopicRole.ITEMS, json.dumps({"type": kind, "id": "a", **event}).encode())
    assert (found, letter.reason) == (RowKind.DEAD, "invalid")
    assert said in letter.detail


def test_a_deletion_with_a_time_in_seconds_is_refused() -> None:
    found, letter, _ = one(TopicRole.ITEMS, None, key=b"a", headers=(("ts", b"1700000000"),))
    assert (found, letter.reason) == (RowKind.DEAD, "invalid")
    assert "seconds" in letter.detail
