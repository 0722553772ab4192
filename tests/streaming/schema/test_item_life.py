"""The life of an item: every short order of events, from nothing and from what a compacted topic keeps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest

from hsnn.streaming.schema.events import Item, ItemDeletion, ItemEvent, ItemPatch, decode
from hsnn.streaming.schema.item_life import (
    NOT_KNOWN,
    KnownItem,
    LifeOutcome,
    apply_event,
    needs_restatement,
    restatement,
)

# Every kind of event, at two times; more times add no order that these do not have.
EVENTS: list[ItemEvent] = [
    event
    for ts in (1, 2)
    for event in (
        Item(ts=ts, id="a", features={"genre": f"g{ts}"}),
        Item(ts=ts, id="a", features={}, expires_at=10 + ts, available_from=5),
        Item(ts=ts, id="a", expires_at=None, available_from=None),
        ItemPatch(ts=ts, id="a", features={"price": ts}),
        ItemPatch(ts=ts, id="a", features={"genre": None}, expires_at=20 + ts),
        ItemDeletion("a", ts),
    )
] + [ItemDeletion("a")]
LENGTH = 4


def read_back(value: bytes | None, ts: int) -> ItemEvent:
    event = ItemDeletion("a", ts) if value is None else decode(value)
    assert isinstance(event, Item | ItemPatch | ItemDeletion)
    return event


def run(events: Sequence[ItemEvent], record: KnownItem = NOT_KNOWN) -> tuple[KnownItem, ItemEvent | None]:
    """Return the record that some events lead to, and the last record of the topic, restatements included."""
    waiting, last = list(events), None
    for _ in range(10 * len(events)):
        if not waiting:
            return record, last
        last = waiting.pop(0)
        record, _ = apply_event(record, last)
        if needs_restatement(record, last):
            waiting.append(read_back(*restatement("a", record)))
    raise AssertionError(f"restatements of {events} do not come to an end")


ORDERS = [order for n in range(1, LENGTH + 1) for order in product(EVENTS, repeat=n)]


def same(one: KnownItem, other: KnownItem) -> bool:
    """Whether two records say the same; of an item that is not announced, only that."""
    return one == other if one.announced or other.announced else True


@pytest.mark.slow
def test_a_fresh_start_over_the_compacted_topic_gives_the_same_catalogue() -> None:
    for order in ORDERS:
        record, last = run(order)
        assert last is not None
        assert same(run([last])[0], record), order


@pytest.mark.slow
def test_what_is_newer_is_never_overwritten() -> None:
    for order in ORDERS:
        record = NOT_KNOWN
        for event in order:
            after, outcome = apply_event(record, event)
            assert after.ts >= record.ts
            if event.ts is not None and event.ts < record.ts:
                assert (after, outcome) == (record, LifeOutcome.OLDER)
            record = after


@pytest.mark.slow
def test_whatever_is_sent_twice_changes_nothing() -> None:
    for order in ORDERS:
        record, last = run(order)
        assert last is not None
        assert apply_event(record, last)[0] == record, order


@pytest.mark.slow
def test_an_announcement_makes_an_item_of_everything_but_a_newer_deletion() -> None:
    for order in ORDERS:
        record, _ = run(order)
        again, outcome = apply_event(record, Item(ts=3, id="a", features={"genre": "new"}))
        assert again.announced
        assert again.features == {"genre": "new"}
        assert outcome is LifeOutcome.APPLIED
        deleted, _ = apply_event(again, ItemDeletion("a", 4))
        assert apply_event(deleted, Item(ts=3, id="a"))[0] == deleted


@pytest.mark.parametrize(
    ("update", "end"),
    [
        (Item(ts=2, id="a"), 90),
        (Item(ts=2, id="a", expires_at=None), 0),
        (Item(ts=2, id="a", expires_at=0), 0),
        (ItemPatch(ts=2, id="a", features={"price": 3}), 90),
        (ItemPatch(ts=2, id="a", expires_at=None), 0),
        (ItemPatch(ts=2, id="a", expires_at=95), 95),
    ],
)
def test_an_end_holds_until_it_is_taken_back(update: ItemEvent, end: int) -> None:
    record, _ = apply_event(NOT_KNOWN, Item(ts=1, id="a", expires_at=90))
    assert apply_event(record, update)[0].expires_at == end


def test_a_patch_of_what_is_not_announced_changes_nothing() -> None:
    patch = ItemPatch(ts=5, id="a", features={"price": 1})
    assert apply_event(NOT_KNOWN, patch) == (NOT_KNOWN, LifeOutcome.UNKNOWN)
    deleted, _ = run([Item(ts=1, id="a"), ItemDeletion("a", 2)])
    assert apply_event(deleted, patch) == (deleted, LifeOutcome.UNKNOWN)
