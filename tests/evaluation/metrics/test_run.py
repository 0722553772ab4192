"""A run and its file, and figures of ranks made by hand."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from hsnn.evaluation.methods import POPULARITY_HALF_LIVES as HOURS
from hsnn.evaluation.metrics.assignment_churn import AssignmentChurn, moved_share
from hsnn.evaluation.metrics.method_metrics import chosen_column, figures, hindsight_column
from hsnn.evaluation.metrics.ranks import MISS
from hsnn.evaluation.metrics.run import Run, load, save
from hsnn.evaluation.report.summary import across, summary

HOUR = 3_600_000
POPULAR = {f"popularity:{hours}": np.full(4, 60, np.float32) for hours in HOURS}


def small_run(**changes) -> Run:
    """Four queries."""
    served = np.array([0, 30, 150, MISS], np.float32)
    ranks = POPULAR | {"popularity:1.0": np.array([10, 49, 50, MISS], np.float32), "served": served}
    ranks |= {
        "frozen_1h": served,
        "engine": served,
        "exhaustive": np.array([0, 30, 150, 300], np.float32),
        "merge@25": served,
        "whole_nodes@25": served,
    }
    run = Run(
        ranks=ranks,
        work={"served": np.array([20, 20, 30, 30], np.int32), "merge@25": np.full(4, 25, np.int32)},
        event=np.arange(4),
        ts=np.arange(4) * 1000,
        age=np.array([0, 5, 7, 30]) * HOUR,
        corpus=np.full(4, 100),
        coverage=dict.fromkeys(ranks, 0.5),
        popular={name: np.linspace(0, 0.9, len(HOURS)) for name in ranks},
        sizes=np.array([0, 2, 4, 2]),
        churn=1.5,
        traffic_churn=0.5,
        dots={"served": np.array([40, 40, 60, 60], np.int32)},
        baselines=("popularity",),
        counting=("popularity",),
        chosen={"popularity": "popularity:1.0"},
        costs={"served": 0.1},
        budget=25,
        events=1000,
        versions=3,
        arrived=2,
        expired=1,
        seconds=2.0,
        training_seconds=1.0,
        judging_seconds=0.5,
    )
    return replace(run, **changes)


def test_figures_of_ranks_made_by_hand():
    found = figures(small_run(), "served")
    assert found["recall_at_20"] == 0.25
    assert found["recall_at_50"] == 0.5
    assert found["recall_at_200"] == 0.75
    assert found["ndcg_at_20"] == 0.25
    assert found["mrr"] == pytest.approx((1 + 1 / 31 + 1 / 151) / 4)
    assert found["fresh_6h_recall_at_50"] == 1.0
    assert found["fresh_24h_recall_at_50"] == pytest.approx(2 / 3)
    assert found["rare_recall_at_50"] == 0.0  # of the third and the fourth
    assert found["scored"] == 25.0
    assert found["scored_share"] == 0.25
    assert found["popularity_share"] == pytest.approx(0.9 * 3 / 9)  # at one hour, which was chosen
    assert figures(small_run(), "exhaustive")["scored"] == 100.0
    assert figures(small_run(), "popularity")["scored"] == 0.0
    assert (found["dots"], found["dots_share"]) == (50.0, 0.5)
    assert figures(small_run(), "exhaustive")["dots"] == 0.0


def test_a_chosen_setting_is_measured_and_the_best_one_stands_beside_it():
    run = small_run(chosen={"popularity": "popularity:24.0"})
    assert chosen_column(run, "popularity") == "popularity:24.0"
    assert hindsight_column(run, "popularity", "recall_at_50") == "popularity:1.0"
    found = figures(run, "popularity")
    assert (found["recall_at_50"], found["hindsight_recall_at_50"]) == (0.0, 0.5)
    assert (found["recall_at_20"], found["hindsight_recall_at_20"]) == (0.0, 0.25)


def test_the_best_in_hindsight_is_told_by_the_queries_that_were_asked_under_all_settings():
    """The chosen setting has 2 of 4 hits, and 1 of the 2 that both were asked; there the other one has 2."""
    ranks = {"popularity:24.0": np.array([0, 90, 90, 0], np.float32)}
    ranks["popularity:1.0"] = np.array([0, 0, np.nan, np.nan], np.float32)
    others = {name: np.full(4, 90, np.float32) for name in POPULAR if name not in ranks}
    run = small_run(ranks=small_run().ranks | others | ranks, chosen={"popularity": "popularity:24.0"})
    assert hindsight_column(run, "popularity", "recall_at_20") == "popularity:1.0"
    found = figures(run, "popularity")
    assert (found["recall_at_20"], found["hindsight_recall_at_20"]) == (0.5, 1.0)


def test_the_index_is_described():
    index = summary(small_run())["index"]
    assert index["max_over_mean"] == 2.0
    assert index["std_over_mean"] == pytest.approx(np.std([0, 2, 4, 2]) / 2)
    assert (index["dead"], index["dead_share"]) == (1, 0.25)
    assert (index["churn_per_100k_events"], index["traffic_churn_per_100k_events"]) == (1.5, 0.5)


def test_predictions_are_evaluated_where_there_are_any():
    assert "probabilities" not in summary(small_run())
    shown = {"predicted": np.array([0.25] * 4, np.float32), "engaged": np.array([1, 0, 0, 0], np.float32)}
    assert summary(small_run(**shown))["probabilities"] == {
        "normalised_entropy": pytest.approx(1.0),
        "calibration": pytest.approx(1.0),
        "shown": 4,
    }


def test_seeds_are_averaged_with_their_spread():
    better = small_run(ranks=small_run().ranks | {"served": np.array([0, 1, 2, MISS], np.float32)})
    found = across([small_run(), better])
    assert found["seeds"] == 2
    assert found["methods"]["served"]["recall_at_20"] == 0.5
    spread = found["intervals"]["served"]["recall_at_20"]
    assert spread["per_seed"] == [0.25, 0.75]
    assert spread["low"] < 0.25 < 0.75 < spread["high"]
    assert [one["methods"]["served"]["recall_at_20"] for one in found["per_seed"]] == [0.25, 0.75]
    assert found["comparisons"]["served - popularity"]["recall_at_20"]["per_seed"] == [0.0, 0.5]
    alone = across([small_run()])
    assert alone["methods"] == summary(small_run())["methods"]
    assert alone["intervals"]["served"]["recall_at_20"] == {"mean": 0.25, "low": None, "high": None, "per_seed": [0.25]}


@pytest.mark.parametrize("changes", [{}, {"churn": float("nan"), "predicted": np.ones(2, np.float32)}])
def test_a_run_comes_back_from_its_file(tmp_path, changes):
    run = small_run(**changes)
    save(run, tmp_path / "run.npz")
    back = load(tmp_path / "run.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
    for queries in fields(Run):
        np.testing.assert_equal(getattr(back, queries.name), getattr(run, queries.name))


def test_churn_is_what_changed_its_node():
    before, after = np.array([0, 1, 2, -1, 3], np.int32), np.array([0, 2, 2, 1], np.int32)
    assert moved_share(before, after, np.log([1.0, 2.0, 1.0, 9.0])) == (pytest.approx(1 / 3), pytest.approx(0.5))
    assert moved_share(before, after, np.full(4, -np.inf)) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert moved_share(before[:0], after, np.zeros(4)) == (0.0, 0.0)
    assert np.isnan(AssignmentChurn().per_100k()).all()


@pytest.mark.slow
def test_a_run_without_an_item_to_find_has_figures():
    """All queries of a very young stream may come before the first batch is learned."""
    none = figures(small_run(corpus=np.zeros(4, int)), "served")
    assert none["scored_share"] == none["scored"]
    assert np.isfinite(none["dots_share"])


@pytest.mark.slow
def test_churn_of_a_run(run):
    assert run.versions > 5
    assert 0 < run.churn < 1e5 * run.versions / run.events
    assert 0 < run.traffic_churn < 1e5 * run.versions / run.events
