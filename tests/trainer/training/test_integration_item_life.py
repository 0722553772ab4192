"""The life of items in a learner: announced, updated, clicked, idle, deleted; who may be recommended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hsnn.streaming.schema.events import Item, ItemDeletion, ItemPatch
from hsnn.trainer.training.learner import Learner
from tests.trainer.conftest import START

HOUR = 3_600_000


def alive(learner: Learner) -> dict[str, bool]:
    ids = learner.items.table.ids
    return dict(zip(ids, learner.alive(np.arange(len(ids))).tolist(), strict=True))


def features(learner: Learner, name: str) -> dict[str, Any]:
    return learner.items.features[learner.items.table.find([name])[0]]


def test_an_item_that_is_announced_again_lives_again(config, world) -> None:
    learner = Learner(config.model_copy(update={"expire_after_idle": 24 * 3600.0}))
    learner.train(learner.prepare(world.clicks(["u"], ["weekly"], items=[world.item("weekly"), world.item("other")])))
    world.now += 72 * HOUR
    learner.train(learner.prepare(world.clicks(["u"], ["other"])))
    assert alive(learner) == {"weekly": False, "other": True}
    back = learner.prepare(world.clicks([], [], items=[world.item("weekly", edition=2), world.item("new")]))
    assert alive(learner) == {"weekly": True, "other": True, "new": True}
    assert [(item.id, item.ts) for item in back.feed] == [("weekly", world.now), ("new", world.now)]


def test_an_announcement_from_a_clock_that_is_ahead_does_not_live_longer(config, world) -> None:
    learner = Learner(config.model_copy(update={"expire_after_idle": 3600.0}))
    ahead = Item(id="a", ts=world.now + 9000 * HOUR, features={})
    batch = world.clicks(["u"], ["b"], items=[ahead, world.item("b")])
    batch.item_sent_at[0] = world.now
    learner.train(learner.prepare(batch))
    world.now += 2 * HOUR
    learner.train(learner.prepare(world.clicks(["u"], ["b"])))
    assert alive(learner) == {"a": False, "b": True}


def test_an_older_update_is_ignored_and_the_newer_one_stated_again(config, world) -> None:
    learner = Learner(config)
    events = [Item(id="a", ts=9, features={"price": "new"}), Item(id="a", ts=4, features={"price": "old"})]
    prepared = learner.prepare(world.clicks([], [], items=events))
    assert features(learner, "a") == {"price": "new"}
    assert [(name, record.ts, record.features) for name, record in prepared.restated] == [("a", 9, {"price": "new"})]


def test_a_patch_is_merged_and_the_whole_stated_again(config, world) -> None:
    learner = Learner(config)
    learner.prepare(world.clicks([], [], items=[Item(id="a", ts=1, features={"genre": "x"}, expires_at=START + HOUR)]))
    prepared = learner.prepare(world.clicks([], [], items=[ItemPatch(id="a", ts=2, features={"price": 3})]))
    assert features(learner, "a") == {"genre": "x", "price": 3}
    assert [item.expires_at for item in prepared.feed] == [START + HOUR]
    ((_, record),) = prepared.restated
    assert record.expires_at == START + HOUR


def test_only_announced_items_count_from_the_first_announcement_on(config, world) -> None:
    learner = Learner(config)
    learner.train(learner.prepare(world.clicks(["u"] * 2, ["undefined", "a"])))
    assert alive(learner) == {"undefined": True, "a": True}
    feed = learner.prepare(world.clicks(["u"], ["null"], items=[world.item("a")])).feed
    assert alive(learner) == {"undefined": False, "a": True, "null": False}
    assert {item.id: item.deleted for item in feed} == {"undefined": True, "a": False, "null": True}
    learner.prepare(world.clicks(["u"], ["undefined"]))
    assert not alive(learner)["undefined"]
    assert alive(Learner.from_state_dict(config, *learner.state_dict())) == alive(learner)


def test_a_warning_counts_the_items_that_the_first_catalogue_lacks(config, world, caplog) -> None:
    complete, partly = Learner(config), Learner(config)
    complete.prepare(world.clicks(["u", "u"], ["a", "b"], items=[world.item("a"), world.item("b")]))
    assert not caplog.messages
    partly.prepare(world.clicks(["u", "u"], ["a", "b"]))
    partly.prepare(world.clicks([], [], items=[world.item("b"), world.item("c")]))
    assert len(caplog.messages) == 1
    assert "1 of 3 known ones are not" in caplog.messages[0]


@pytest.mark.parametrize(("authority", "expected"), [("seen", True), ("announced", False)])
def test_who_may_be_recommended_is_configured(config, world, authority: str, expected: bool) -> None:
    catalogue = config.catalogue.model_copy(update={"authority": authority})
    config = config.model_copy(update={"catalogue": catalogue})
    learner = Learner(config)
    learner.prepare(world.clicks(["u"], ["undefined"]))
    assert alive(learner)["undefined"] is expected
    learner.prepare(world.clicks([], [], items=[world.item("a")]))
    assert alive(learner) == {"undefined": expected, "a": True}
    other = config.model_copy(update={"catalogue": catalogue.model_copy(update={"authority": "seen"})})
    assert alive(Learner.from_state_dict(other, *learner.state_dict())) == {"undefined": True, "a": True}


def test_an_item_waits_for_its_beginning(config, world) -> None:
    learner = Learner(config)
    later = Item(id="a", ts=world.now, available_from=world.now + HOUR)
    assert learner.prepare(world.clicks([], [], items=[later])).feed[0].available_from == world.now + HOUR
    assert alive(learner) == {"a": False}
    learner.prepare(world.clicks([], [], watermark=world.now + HOUR))
    assert alive(learner) == {"a": True}


def test_a_click_does_not_bring_a_deleted_item_back(config, world) -> None:
    learner = Learner(config)
    learner.prepare(world.clicks([], [], items=[world.item("a"), ItemDeletion("a")]))
    learner.prepare(world.clicks(["u"], ["a"]))
    assert alive(learner) == {"a": False}
