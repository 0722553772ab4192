from __future__ import annotations

from pathlib import Path

import pytest

from streaming.datasets import DataError, kuairand
from streaming.events import Impression, Interaction


def test_every_row_is_an_impression_followed_by_what_was_done(videos: Path) -> None:
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


def test_features_without_what_could_know_the_future(videos: Path) -> None:
    data = kuairand.read(videos)
    assert [(item.id, item.ts) for item in data.items] == [("6", 999), ("5", 2999)]
    assert data.items[0].features == {
        "author": "78", "kind": "AD", "upload": "Web", "tags": ["2"], "uploaded": "2022-04-11",
    }  # fmt: skip
    assert data.items[1].features["tags"] == ["20", "43"]
    assert data.items[1].features["seconds"] == 9.0
    assert [user.id for user in data.users] == ["1"]
    assert data.users[0].features["onehot_feat17"] == "17"
    assert "user_active_degree" not in data.users[0].features


def test_batches_tell_what_was_shown(videos: Path) -> None:
    first, second = kuairand.read(videos).batches(2)
    assert first.seen_items == [("6", 1000, 1000), ("6", 2000, 2000)]
    assert (first.engagements.action, first.positions["engagements", 0], first.watermark) == (
        ["click", "like"],
        4,
        2000,
    )
    assert second.seen_items == [("5", 3000, 3000)]
    assert (len(second.engagements), second.positions["engagements", 0], second.dry) == (1, 6, True)


def test_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no standard_"):
        kuairand.read(tmp_path)
