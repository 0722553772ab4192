"""What a user has seen is left out in every mode, by the trainer's rule, for mirrored and for given histories."""

from __future__ import annotations

from typing import Any

import pytest

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.trainer.messages import ExclusionRule

MODES = ("beam", "exact", "exhaustive", "popularity", "popularity_filter")
EVERY = {f"c{cluster}-{number}" for cluster in range(6) for number in range(10)}
HOUR = 3_600_000


def loaded(plant: Any, **rule: Any) -> Mirror:
    plant.exclusion, mirror = ExclusionRule(**rule), Mirror()
    plant.load(mirror)
    plant.state()
    return mirror


def missing(mirror: Mirror, mode: str = "beam", **request: Any) -> set[str]:
    """Items that a search which could return all of them leaves out."""
    limits = RetrievalLimits(beam=6, budget=60)
    return EVERY - set(retrieve(mirror, [Request(user="one", k=60, mode=mode, **request)], limits)[0].items)


@pytest.mark.parametrize("mode", MODES)
def test_fifteen_items_of_a_session_are_all_left_out(plant, mode):
    mirror, seen = loaded(plant), {f"c{number % 6}-{number // 6}" for number in range(15)}
    for item in sorted(seen):
        plant.engage("one", item)
    mirror.apply_state(plant.state())
    assert missing(mirror, mode) == seen


@pytest.mark.parametrize("mode", MODES)
def test_looks_at_one_item_do_not_push_others_out_even_hours_later(plant, mode):
    mirror = loaded(plant)
    for item in ("c0-1", "c1-1", "c2-1", *["c3-1"] * 10):
        plant.engage("one", item)
    mirror.apply_state(plant.state())
    later = plant.now + 5 * HOUR
    assert missing(mirror, mode, as_of=later) == {"c0-1", "c1-1", "c2-1", "c3-1"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rule", ["recent", "seen", "nothing"])
def test_every_rule_leaves_out_what_it_says_and_what_is_disliked(plant, mode, rule):
    mirror = loaded(plant, rule=rule, items=2, time_ms=0)
    plant.engage("one", "c5-5", disliked=True)
    for number in range(6):
        plant.engage("one", f"c0-{number}", after=HOUR // 10)
    mirror.apply_state(plant.state())
    past = {
        "recent": {"c0-4", "c0-5"},
        "seen": {f"c0-{number}" for number in range(6)},
        "nothing": set[str](),
    }[rule]
    assert missing(mirror, mode) == past | {"c5-5"}


def test_a_dislike_that_was_taken_back_is_none(plant):
    mirror = loaded(plant, rule="nothing")
    plant.engage("one", "c5-5", disliked=True)
    plant.engage("one", "c5-5")
    mirror.apply_state(plant.state())
    assert missing(mirror) == set()


@pytest.mark.parametrize("user", ["one", "nobody"])
def test_a_given_history_counts_beside_what_is_remembered_of_the_user(plant, user):
    mirror = loaded(plant, rule="seen")
    plant.engage("one", "c0-0")
    mirror.apply_state(plant.state())
    given = [f"c{number % 6}-{number // 6 + 1}" for number in range(14)]  # the model uses four of them
    request = Request(user=user, k=60, history=list(given))
    found = retrieve(mirror, [request, Request(user=user, k=60)], RetrievalLimits(beam=6, budget=60))
    remembered = {"c0-0"} if user == "one" else set()
    assert EVERY - set(found[0].items) == set(given) | remembered
    assert EVERY - set(found[1].items) == remembered


def test_items_of_a_request_are_left_out_beside_the_rule(plant):
    mirror = loaded(plant)
    plant.engage("one", "c0-0")
    mirror.apply_state(plant.state())
    assert missing(mirror, filters=Filters(exclude=["c1-1"])) == {"c0-0", "c1-1"}


def test_what_the_memory_has_forgotten_comes_back(plant):
    mirror = loaded(plant, rule="seen", keep_ms=HOUR)
    for number in range(6):  # more than the history has
        plant.engage("one", f"c0-{number}", after=1)
    mirror.apply_state(plant.state())
    assert missing(mirror) == {f"c0-{number}" for number in range(6)}
    assert missing(mirror, as_of=plant.now + 2 * HOUR) == {f"c0-{number}" for number in range(2, 6)}  # the history


def test_a_version_of_another_epoch_brings_its_own_rule(plant):
    mirror = loaded(plant, rule="seen")
    for number in range(4):
        plant.engage("one", f"c0-{number}", after=HOUR)
    mirror.apply_state(plant.state())
    assert len(missing(mirror)) == 4
    plant.epoch, plant.exclusion = 2, ExclusionRule("recent", items=1)
    plant.load(mirror)
    assert missing(mirror) == {"c0-3"}
