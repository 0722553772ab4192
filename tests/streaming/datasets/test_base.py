from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.datasets.assemble import build_dataset, build_engagements, time_order
from hsnn.streaming.datasets.base import Dataset, Impressions
from hsnn.streaming.schema.events import Impression, Interaction, Item, User

CLICKS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 6)), max_size=40)
"""(time, user, item) in the order of a source."""


def dataset(clicks: list[tuple[int, int, int]], limit: int | None = None) -> Dataset:
    ts = np.array([time for time, _, _ in clicks], np.int64)
    order = time_order(ts, limit)
    rows = [clicks[row] for row in order.tolist()]
    users, items = [f"u{user}" for _, user, _ in rows], [f"a{item}" for _, _, item in rows]
    known = {f"u{user}": {"odd": str(user % 2)} for user in range(3)}  # u3 has no features
    return build_dataset(
        "made", build_engagements(ts[order], users, items, "click"), item_features={}, user_features=known, titles={}
    )


@given(CLICKS)
def test_events_are_in_time_order_and_name_what_has_arrived(clicks: list[tuple[int, int, int]]) -> None:
    arrived: set[str] = set()
    last = 0
    for topic, key, event in dataset(clicks).events():
        assert event.ts >= last
        last = event.ts
        if isinstance(event, Item | User):
            assert key.decode() == event.id
            assert event.id not in arrived
            arrived.add(str(event.id))
        elif isinstance(event, Interaction):
            assert (topic, key.decode()) == ("engagements", event.user)
            assert event.item in arrived
            assert event.user in arrived or event.user == "u3"


@given(CLICKS, st.integers(1, 50))
def test_a_limit_is_a_prefix_of_the_engagements(clicks: list[tuple[int, int, int]], limit: int) -> None:
    whole = [e for topic, _, e in dataset(clicks).events() if topic == "engagements"]
    part = [e for topic, _, e in dataset(clicks, limit).events() if topic == "engagements"]
    assert part == whole[:limit]
    assert [e.ts for e in whole] == sorted(time for time, _, _ in clicks)


@given(CLICKS, st.integers(1, 12))
def test_batches_hold_the_same_events(clicks: list[tuple[int, int, int]], size: int) -> None:
    data = dataset(clicks)
    batches = list(data.batches(size))
    assert all(len(batch.engagements) == size for batch in batches[:-1])
    assert [row for batch in batches for row in batch.engagements.item] == list(data.engagements.item)
    assert [item for batch in batches for item in batch.items] == data.items
    assert [user for batch in batches for user in batch.users] == data.users
    arrived: set[str] = set()
    for number, batch in enumerate(batches):
        arrived.update(str(item.id) for item in batch.items)
        assert arrived.issuperset(batch.engagements.item)
        assert batch.watermark == int(batch.engagements.ts[-1])
        assert batch.positions["engagements", 0] == min((number + 1) * size, len(data))
        assert batch.caught_up == (number == len(batches) - 1)


def test_ids_do_not_depend_on_the_limit() -> None:
    clicks = [(3, 0, 1), (1, 1, 2), (2, 0, 2)]
    assert dataset(clicks, 2).interaction(1) == dataset(clicks).interaction(1)


def test_impressions_count_as_engagements() -> None:
    ts = np.array([10, 30], np.int64)
    shown = Impressions(ts, ["u", "u"], [["a", "b"], ["c"]], [None, None])
    clicked = build_engagements(np.array([20], np.int64), ["u"], ["b"], "click")
    data = build_dataset(
        "made",
        clicked,
        item_features={},
        user_features={},
        titles={},
        impressions=shown,
        links=np.array([0]),
        sequence=np.array([-1, 0, -2]),
    )
    assert len(data) == 3
    assert data.event_times().tolist() == [10, 20, 30]
    assert [(item.id, item.ts) for item in data.items] == [("a", 9), ("b", 9), ("c", 29)]
    kinds = [type(event) for _, _, event in data.events()]
    assert kinds == [Item, Item, Impression, Interaction, Item, Impression]
    assert data.interaction(0).impression == "s0"
    (batch,) = data.batches(5)
    assert batch.watermark == 30
    assert batch.seen_items == [("a", 10, 10), ("b", 10, 10), ("c", 30, 30)]


def test_a_data_set_without_impressions_says_so() -> None:
    with pytest.raises(IndexError, match="no impressions"):
        dataset([(1, 1, 1)]).impression(0)


def test_batch_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        dataset([(1, 1, 1)]).batches(0)
