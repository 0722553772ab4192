"""Conditions by row: masks and boosts in every mode."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search import retrieval
from hsnn.serving.search.conditions import ItemConditions, conditions_of


def test_a_mask_that_ends_early_lets_no_later_row_pass(mirror):
    with mirror.reading():
        mask = conditions_of(mirror.state, Request(user="u0", filters=Filters(items=["c0-1", "unknown"]))).mask
        assert np.flatnonzero(mask).tolist() == [mirror.state.items.ids.row("c0-1")]
    shorter = ItemConditions(np.array([True, False]))
    assert shorter.passing(np.ones(4, np.bool_)).tolist() == [True, False, False, False]


@pytest.mark.parametrize("mode", ["beam", "exact", "exhaustive", "popularity_filter"])
@pytest.mark.parametrize("budget", [1, 200])
def test_a_boosted_item_wins_and_its_score_has_the_boost(mirror, monkeypatch, mode, budget):
    request, limits = Request(user="nobody", k=60, mode=mode), RetrievalLimits(beam=18, budget=budget)
    before = retrieval.retrieve(mirror, [request], limits)[0]
    wanted = "c5-3" if budget > 1 else before.items[-1]
    with mirror.reading():
        row = mirror.state.items.ids.row(wanted)
    boosts = np.zeros(row + 1, np.float32)
    boosts[row] = 100
    monkeypatch.setattr(retrieval, "conditions_of", lambda state, request: ItemConditions(boosts=boosts))
    after = retrieval.retrieve(mirror, [request], limits)[0]
    assert after.items[0] == wanted
    assert after.scores[0] == pytest.approx(before.scores[before.items.index(wanted)] + 100, abs=1e-4)
    assert after.stats.certified == before.stats.certified
