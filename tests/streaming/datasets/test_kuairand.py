from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.datasets import DataError, Dataset, kuairand
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.producer.produce import produce
from hsnn.streaming.schema.events import Impression, Interaction


def test_every_row_is_an_impression_followed_by_its_actions(videos: Path) -> None:
    events = [event for topic, _, event in kuairand.read(videos).events() if topic == "engagements"]
    shown = {"tab": "1"}
    assert events == [
        Impression(id="s0", ts=1000, user="2", items=["6"], context={"tab": "0"}),
        Impression(id="s1", ts=2000, user="1", items=["6"], context=shown),
        Interaction(id="i0", ts=2000, user="1", item="6", action="click", impression="s1", context=shown),
        Interaction(id="i1", ts=2000, user="1", item="6", action="like", impression="s1", context=shown),
        Impression(id="s2", ts=3000, user="1", items=["5"], context=shown),
        Interaction(id="i2", ts=3000, user="1", item="5", action="click", impression="s2", context=shown),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7])
def test_limit_counts_impressions_and_interactions(videos: Path, limit: int) -> None:
    whole, part = kuairand.read(videos), kuairand.read(videos, limit)
    engagements = [[e for topic, _, e in data.events() if topic == "engagements"] for data in (whole, part)]
    assert engagements[1] == engagements[0][:limit]
    assert len(part) == min(limit, 6)


def test_features_that_could_leak_the_future_are_left_out(videos: Path) -> None:
    data = kuairand.read(videos)
    assert [(item.id, item.ts) for item in data.items] == [("6", 999), ("5", 2999)]
    assert data.items[0].features == {
        "author": "78",
        "kind": "AD",
        "upload": "Web",
        "tags": ["2"],
        "uploaded": "2022-04-11",
    }
    assert data.items[1].features["tags"] == ["20", "43"]
    assert data.items[1].features["seconds"] == 9.0
    assert [user.id for user in data.users] == ["1"]
    assert data.users[0].features["onehot_feat17"] == "17"
    assert "user_active_degree" not in data.users[0].features


def test_batches_have_the_shown_items(videos: Path) -> None:
    first, second = kuairand.read(videos).batches(2)
    assert first.seen_items == [("6", 1000, 1000), ("6", 2000, 2000)]
    assert (first.engagements.action, first.positions["engagements", 0], first.watermark) == (
        ["click", "like"],
        4,
        2000,
    )
    assert second.seen_items == [("5", 3000, 3000)]
    assert (len(second.engagements), second.positions["engagements", 0], second.caught_up) == (1, 6, True)


def test_impressions_become_labelled_impressions(videos: Path) -> None:
    config = StreamingConfig(tasks=("click", "long_view", "like"))
    first, second = kuairand.read(videos).batches(2, config)
    assert (first.impressions, first.pending, len(first.labelled_impressions)) == (0, 2, 0), "the window has not passed"
    assert first.engagements.repeat.tolist() == [False, True], "the like says more of what the click said"
    assert (second.impressions, second.pending, second.dropped) == (3, 0, {})
    judged = second.labelled_impressions
    assert (judged.ts.tolist(), judged.user, judged.item) == ([1000, 2000, 3000], ["2", "1", "1"], ["6", "6", "5"])
    assert judged.labels.tolist() == [[0, 0, 0], [1, 0, 1], [1, 0, 0]]
    assert judged.context == [{"tab": "0"}, {"tab": "1"}, {"tab": "1"}]


def later(data: Dataset) -> Dataset:
    """The same events later: a consumer rejects times of 1970."""
    events, shown, by = data.engagements, data.impressions, 1_650_000_000_000
    assert shown is not None
    return replace(
        data,
        engagements=replace(events, ts=events.ts + by),
        impressions=replace(shown, ts=shown.ts + by),
        items=[msgspec.structs.replace(item, ts=item.ts + by) for item in data.items],
        users=[],
    )


def test_consumer_labels_as_the_data_set_does(videos: Path) -> None:
    config = StreamingConfig(tasks=("click", "like"), batch_size=2, max_wait=0.0)
    data, log = later(kuairand.read(videos)), MemoryLog()
    assert produce(data, log, config=config).finished
    consumer, live = Consumer(log, config), []
    while (batch := consumer.next_batch(0.0)) is not None:
        live.append(batch)
    offline = list(data.batches(2, config))
    for batches in (live, offline):
        labels = np.concatenate([batch.labelled_impressions.labels for batch in batches])
        assert labels.tolist() == [[0, 0], [1, 1], [1, 0]]
        assert [name for batch in batches for name in batch.labelled_impressions.item] == ["6", "6", "5"]
        assert [flag for batch in batches for flag in batch.engagements.repeat.tolist()] == [False, True, False]
        assert batches[-1].pending == 0
    assert (consumer.counts.delivered, consumer.counts.judged, consumer.pending) == (3, 3, 0)
    assert consumer.lag() == (0, 0.0)


def test_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no standard_"):
        kuairand.read(tmp_path)
