"""The caching decoder gives the same values and errors as decoding one by one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import RowKind
from hsnn.streaming.log.records import Record, RecordBatch
from hsnn.streaming.schema.arrow import read_interactions, write_interactions
from hsnn.streaming.schema.contexts import ContextDecoder
from hsnn.streaming.schema.events import decode
from hsnn.streaming.schema.topics import TopicRole

scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5)
contexts = st.none() | st.dictionaries(st.text(max_size=3), scalars, max_size=4)


def record(at: int, **more: Any) -> Record:
    event = {"type": "interaction", "id": at, "ts": 5, "user": "u", "item": "i", "action": "a", **more}
    return Record("engagements", 0, at, b"u", json.dumps(event).encode(), (), 1)


def contexts_of(*records: Record) -> list[Any]:
    found: list[Any] = decode_records(TopicRole.ENGAGEMENTS, RecordBatch.from_records(records)).context.tolist()
    return found


@given(st.lists(contexts, min_size=1, max_size=20))
def test_equal_to_decoding_one_by_one(values: list[dict[str, Any] | None]) -> None:
    records = [record(at, context=value) for at, value in enumerate(values)]
    expected = [decode(one.value or b"").context for one in records]  # type: ignore[union-attr]
    assert contexts_of(*records) == expected


def test_missing_context_is_none() -> None:
    assert contexts_of(record(1), record(2, context={"h": 1})) == [None, {"h": 1}]


@pytest.mark.parametrize("bad", [5, "x", [1], {"a": {"b": 1}}, {"a": [1]}])
def test_an_invalid_context_is_left_out_and_affects_no_other(bad: Any) -> None:
    records = RecordBatch.from_records([record(1, context={"h": 1}), record(2, context=bad), record(3)])
    rows = decode_records(TopicRole.ENGAGEMENTS, records)
    assert rows.kind.tolist() == [RowKind.INTERACTION] * 3
    assert rows.context.tolist() == [{"h": 1}, None, None]


def test_equal_contexts_are_shared_in_arrow_too() -> None:
    value = write_interactions([5] * 3, ["u"] * 3, ["i"] * 3, ["a"] * 3, context=[{"h": 1}, None, {"h": 1}])
    one, none, two = read_interactions(value).context.tolist()  # type: ignore[union-attr]
    assert one == {"h": 1}
    assert one is two
    assert none is None


def test_cache_stays_within_its_capacity() -> None:
    some: ContextDecoder[bytes] = ContextDecoder(capacity=10)
    for at in range(100):
        assert some.decode([b'{"n":%d}' % at]) == [{"n": at}]
        assert len(some) <= 10


def test_invalid_context_is_an_error_each_time() -> None:
    some: ContextDecoder[bytes] = ContextDecoder()
    for _ in range(2):
        with pytest.raises(msgspec.ValidationError):
            some.decode([b"5"])


def test_an_action_may_name_impression_0() -> None:
    assert decode_records(
        TopicRole.ENGAGEMENTS, RecordBatch.from_records([record(1, impression=0)])
    ).payload.tolist() == ["0"]
