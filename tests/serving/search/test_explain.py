"""Explanations: parts of scores add up, histories speak by leaving them out, and each stage of falling out is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hsnn.serving.filter_schema import Condition, Filters
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Answer, Cap, Request, Sampling
from hsnn.serving.search.retrieval import retrieve

WIDE = RetrievalLimits(beam=6, budget=200)


def ask(mirror: Mirror, limits: RetrievalLimits = WIDE, **request: Any) -> Answer:
    return retrieve(mirror, [Request(**({"user": "u0", "k": 5, "explain": True} | request))], limits)[0]


def paired(new_plant: Any, **config: Any) -> tuple[Any, Mirror]:
    """A plant of sixty items whose model has pair features; five users went through eight of them."""
    plant, mirror = new_plant(pair_features=True, **config), Mirror()
    for number in range(60):
        plant.add(f"i{number}", number % 6)
    for user in range(5):
        for number in range(user, user + 8):
            plant.engage(f"v{user}", f"i{number}")
    plant.load(mirror)
    return plant, mirror


@pytest.mark.parametrize("pairs", [False, True])
def test_the_parts_of_a_score_add_up(mirror, new_plant, pairs):
    user = "u0"
    if pairs:
        _, mirror = paired(new_plant)
        user = "v0"
    answer = ask(mirror, user=user, k=40)
    assert answer.reasons is not None
    for score, reason in zip(answer.scores, answer.reasons, strict=True):
        assert sum(reason.parts.values()) == pytest.approx(score, abs=2e-3)
        assert {"item", "state", "node"} <= reason.parts.keys()
    assert any("pair" in reason.parts for reason in answer.reasons) == pairs


def test_sources_are_those_of_the_search(new_plant):
    _, mirror = paired(new_plant)
    answer = ask(mirror, user="v0", k=60)
    assert answer.reasons is not None
    sources = [reason.source for reason in answer.reasons]
    assert {"index", "neighbours"} <= set(sources)
    for reason in answer.reasons:
        assert bool(reason.pair) == (reason.source != "index")
        assert reason.source != "neighbours" or reason.pair["session"] > 0


def test_history_items_speak_by_what_the_score_is_without_them(mirror):
    history = ["c0-0", "c4-1", "c4-2"]
    answer = ask(mirror, user="x", history=list(history), k=3)
    assert answer.reasons is not None
    limits, now = WIDE, answer.as_of
    for item, score, reason in zip(answer.items, answer.scores, answer.reasons, strict=True):
        assert reason.history
        for left_out, adds in reason.history.items():
            kept = [given for given in history if given != left_out]
            only = Request(user="x", k=1, history=list(kept), as_of=now, filters=Filters(items=[item]))
            without = retrieve(mirror, [only], limits)[0]
            assert without.items == [item]
            assert score - without.scores[0] == pytest.approx(adds, abs=2e-3)


def test_paths_lead_from_the_first_level_to_the_leaf(new_plant):
    plant, mirror = new_plant(nodes=2, children=(3,)), Mirror()
    for number in range(60):
        plant.add(f"i{number}", number % 6)
    plant.load(mirror)
    answer = ask(mirror, user="x", k=60)
    assert answer.reasons is not None
    for item, reason in zip(answer.items, answer.reasons, strict=True):
        leaf = int(item[1:]) % 6
        assert reason.path == [leaf // 3, leaf]
        assert len(reason.path_log_probs) == 2
        assert all(value <= 0 for value in reason.path_log_probs)
    first = {tuple(reason.path[:1]): reason.path_log_probs[0] for reason in answer.reasons}
    assert np.exp(list(first.values())).sum() == pytest.approx(1, abs=1e-3)


def test_filters_that_were_passed_are_named(mirror):
    where = Condition(all_of=[Condition(field="parity", equal=1), Condition(field="topic", is_not="c3")])
    answer = ask(mirror, filters=Filters(where=where, exclude=["c1-1"]))
    assert answer.reasons is not None
    assert answer.reasons[0].passed == ["parity equal 1", "topic not c3", "exclude"]


def stage(mirror: Mirror, item: str, limits: RetrievalLimits = WIDE, **request: Any) -> tuple[str, str]:
    answer = ask(mirror, limits, why_not=[item], explain=False, **request)
    assert answer.why_not is not None
    assert answer.reasons is None
    (found,) = answer.why_not
    assert found.item == item
    return found.stage, found.detail


def test_every_stage_is_named_at_which_an_item_falls_out(plant, mirror):
    best = ask(mirror, k=60)
    assert stage(mirror, "unheard of")[0] == "unknown"
    assert stage(mirror, "c0-0")[0] == "seen"
    assert stage(mirror, best.items[0]) == ("returned", "it is number 1 of the answer")
    assert stage(mirror, best.items[9]) == ("ranked_below", "it is number 10 by score, below the last of the answer")
    where = Condition(field="topic", equal="c1")
    found = stage(mirror, "c2-5", filters=Filters(where=where))
    assert found == ("filtered", "it does not pass: topic equal c1")
    assert "exclude" in stage(mirror, "c2-5", filters=Filters(exclude=["c2-5"]))[1]
    assert stage(mirror, best.items[4], caps=[Cap("$node", 1)])[0] == "capped"
    drawn = ask(mirror, k=1, sampling=Sampling(1.0)).items[0]
    other = next(item for item in best.items if item != drawn)
    assert stage(mirror, other, k=1, sampling=Sampling(1.0))[0] == "not_drawn"
    mirror.apply_delta(plant.delete(15))
    assert stage(mirror, "c1-5")[0] == "deleted"
    mirror.apply_delta(plant.delete(16, "expired"))
    assert stage(mirror, "c1-6")[0] == "not_indexed"
    mirror.apply_delta(plant.add("old", 3, expires_at=plant.now + 1))
    plant.now += 10
    plant.engage("u1", "c1-7")
    mirror.apply_state(plant.state())
    assert stage(mirror, "old")[0] == "expired"


def test_what_a_narrow_search_does_not_reach(plant, mirror):
    plant.index_share = 0.5
    mirror.apply_state(plant.state())
    assert stage(mirror, "c3-1", RetrievalLimits(beam=1, budget=3))[0] == "node_not_opened"
    inside = [stage(mirror, f"c0-{number}", RetrievalLimits(beam=1, budget=3), k=2)[0] for number in range(3, 10)]
    assert inside.count("not_scored") == 4
    last = ask(mirror, k=60, mode="popularity").items[-1]
    assert stage(mirror, last, RetrievalLimits(budget=3), mode="popularity_filter")[0] == "not_scored"


@pytest.mark.parametrize("mode", ["popularity", "latest"])
def test_lists_without_a_model_name_themselves(mirror, mode):
    answer = ask(mirror, mode=mode)
    assert answer.reasons is not None
    assert {reason.source for reason in answer.reasons} == {mode}
