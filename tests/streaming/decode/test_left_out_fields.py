"""Optional fields that are not understood cost themselves, in JSON and Arrow alike, and are counted."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest

from hsnn.streaming.decode import left_out_fields
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import EventTable, RowKind
from hsnn.streaming.decode.left_out_fields import FIELDS_LEFT_OUT
from hsnn.streaming.log.records import Record, RecordBatch
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.topics import TopicRole

GOOD = {"type": "interaction", "id": 1, "ts": 1_700_000_000_000, "user": 7, "item": "a", "action": "click"}
ITEM = {"type": "item", "id": "a", "ts": 1_700_000_000_000}


def decoded(value: bytes, role: TopicRole = TopicRole.ENGAGEMENTS) -> EventTable:
    return decode_records(role, RecordBatch.from_records([Record(role.value, 0, 0, b"k", value, (), 1_000)]))


def counted(field: str) -> float:
    return FIELDS_LEFT_OUT.labels(field)._value.get()


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"value": 1e300}, "value"),
        ({"value": "five"}, "value"),
        ({"impression": ""}, "impression"),
        ({"impression": [1]}, "impression"),
        ({"context": "phone"}, "context"),
        ({"context": {"a": {"b": 1}, "device": "phone"}}, "context"),
    ],
)
def test_an_interaction_is_learned_without_it(more: dict[str, Any], field: str) -> None:
    before = counted(field)
    table = decoded(json.dumps(GOOD | more).encode())
    assert table.kind.tolist() == [RowKind.INTERACTION]
    assert (table.user[0], table.item[0], table.ts[0]) == ("7", "a", GOOD["ts"])
    assert np.isnan(table.value[0])
    assert table.payload[0] is None
    assert table.context[0] in (None, {"device": "phone"})
    assert counted(field) == before + 1


@pytest.mark.parametrize("role", [TopicRole.ITEMS, TopicRole.USERS])
def test_only_the_features_that_are_not_understood_are_left_out(role: TopicRole) -> None:
    features = {"genre": ["drama"], "price": {"amount": 3}, "year": 1999, "parts": [[1]]}
    value = json.dumps(ITEM | {"features": features, "type": role.value.rstrip("s")}).encode()
    table = decoded(value, role)
    assert table.payload[0].features == {"genre": ["drama"], "year": 1999}


@pytest.mark.parametrize(
    "event",
    [
        GOOD | {"ts": "?"},
        GOOD | {"user": None, "value": "?"},
        ITEM | {"expires_at": "soon"},
        ITEM | {"expires_at": 5.5},
    ],
)
def test_what_an_event_needs_and_times_still_cost_the_event(event: dict[str, Any]) -> None:
    role = TopicRole.ITEMS if event["type"] == "item" else TopicRole.ENGAGEMENTS
    table = decoded(json.dumps(event).encode(), role)
    assert (table.kind.tolist(), str(table.payload[0].reason)) == ([RowKind.DEAD], "invalid")


def test_arrow_counts_the_same(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_out_fields, "_named", set())
    before = counted("value")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            table = decoded(write_interactions([5, 6], ["u", "v"], ["a", "b"], ["x", "x"], value=[float("inf"), 2.0]))
    assert table.kind.tolist() == [RowKind.INTERACTION] * 2
    assert np.isnan(table.value[0])
    assert table.value[1] == 2.0
    assert counted("value") == before + 2
    assert caplog.text.count("`value` is not understood") == 1
