"""The share of the items that the index yields follows its recall."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hsnn.trainer.retrieval.index_recall import MOST_DOTS, SHARE, RunningRecall, item_limit
from hsnn.trainer.retrieval.inverted_lists import InvertedLists
from hsnn.trainer.training.learner import Learner


@pytest.fixture
def leaves() -> InvertedLists:
    """Ten nodes of ten items: row r is in node r // 10, and the lower rows of a node have more traffic."""
    leaves = InvertedLists(10)
    leaves.assign_all(np.repeat(np.arange(10, dtype=np.int32), 10))
    leaves.set_log_mass(np.arange(100), -(np.arange(100) % 10).astype(np.float64))
    return leaves


def probe(recall: RunningRecall, leaves: InvertedLists, targets: list[int], named: bool = False) -> None:
    """Look for targets with a beam of the nodes 3, 7 and 8, which hold 30 items."""
    log_probs = np.full((len(targets), 10), -9.0, np.float32)
    log_probs[:, [3, 7, 8]] = -1
    recall.update(leaves, log_probs, np.array(targets, np.int64), np.full(len(targets), named), beam=3, budget=12)


def test_a_target_counts_if_its_node_is_opened(leaves):
    recall = RunningRecall()
    probe(recall, leaves, [35, 71, 20])  # node 2 is not opened
    assert (recall.hits, recall.probes) == pytest.approx((2, 3), abs=0.01)
    probe(recall, leaves, [])
    assert (recall.hits, recall.probes) == pytest.approx((2, 3), abs=0.01)


def test_a_target_counts_if_a_proven_index_would_yield_it(leaves):
    """That is 16 of all 100 items, those with the most traffic, though the index is not proven yet."""
    assert RunningRecall().share == 1.0
    found = {}
    for target in (30, 34, 36, 70, 74, 79):
        recall = RunningRecall()
        probe(recall, leaves, [target])
        found[target] = recall.hits
    assert found == {30: 1, 34: 1, 36: 0, 70: 1, 74: 1, 79: 0}


def test_a_target_that_another_source_names_counts_wherever_the_beam_leads(leaves):
    recall = RunningRecall()
    probe(recall, leaves, [20, 38], named=True)
    assert recall.hits == recall.probes == pytest.approx(2, abs=0.01)


def test_the_share_falls_after_enough_probes_and_not_before(leaves):
    recall, counts = RunningRecall(), 0
    while recall.share == 1.0 and counts < 1000:
        probe(recall, leaves, [30])
        counts += 1
    assert recall.share == SHARE
    assert 100 <= counts <= 110  # earlier probes weigh a little less


@pytest.mark.slow
def test_two_misses_in_a_hundred_are_too_many_and_are_forgotten_in_time(leaves):
    recall = RunningRecall()
    for number in range(600):
        probe(recall, leaves, [20 if number % 50 == 0 else 30])
    assert recall.share == 1.0
    for _ in range(1500):
        probe(recall, leaves, [30])
    assert recall.share == SHARE
    for _ in range(30):
        probe(recall, leaves, [20])
    assert recall.share == 1.0, "an index that loses items yields all of them again"


def test_the_budget_is_the_least_and_the_cost_of_dot_products_the_most():
    assert [item_limit(SHARE, items, 200) for items in (0, 500, 10_000, 10**6)] == [200, 200, 1600, MOST_DOTS]


@pytest.mark.slow
def test_a_restored_learner_measures_on_to_the_last_bit(config: Any, with_index: Any, new_world: Any, teach: Any):
    config = with_index(config, seed_after=128)
    learner, world, same = Learner(config), new_world(), new_world()
    teach(learner, world, 9)
    teach(Learner(config), same, 9)
    recall = learner.index_recall
    assert 0 < recall.hits <= recall.probes
    assert recall.probes != int(recall.probes), "decayed counts are no whole numbers"
    again = Learner.from_state_dict(config, *learner.state_dict())
    assert (again.index_recall.hits, again.index_recall.probes) == (recall.hits, recall.probes)
    for one, stream in ((learner, world), (again, same)):
        teach(one, stream, 4)
    assert (again.index_recall.hits, again.index_recall.probes) == (recall.hits, recall.probes)
    assert again.delta().index_share == recall.share


def test_nothing_is_measured_before_there_are_nodes(config: Any, world: Any, teach: Any):
    learner = Learner(config)
    teach(learner, world, 2)
    assert not learner.network.seeded
    assert learner.index_recall.probes == 0
    assert learner.delta().index_share == 1.0


@pytest.mark.slow
def test_every_fourth_step_tells_the_sources_and_each_the_items_that_move(
    config: Any, with_index: Any, new_world: Any, teach: Any
):
    learner, world = Learner(with_index(config, seed_after=128)), new_world()
    reports = [teach(learner, world, 1) for _ in range(16)]
    looked = [report for report in reports if report.sources is not None]
    assert 1 <= len(looked) <= 4
    for report in looked:
        assert report.sources is not None
        assert report.ranks is not None
        assert report.sources.shape == report.ranks.shape
    assert reports[0].assigned == 0, "no item has a node yet"
    assert all(0 <= report.moved <= report.assigned for report in reports)
    assert reports[-1].assigned > 0
