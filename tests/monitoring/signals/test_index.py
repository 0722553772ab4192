"""Balance of the nodes, dead ones, and items that change theirs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.observation import ModelFigures, Observation
from hsnn.monitoring.signals import index
from hsnn.monitoring.signals.index import GROUP


def nodes(node_of: Any, count: int = 4, **figures: int) -> Observation:
    """An index with these nodes of the items; -1 is none."""
    node_of = np.array(node_of, np.int32)
    sizes = np.bincount(node_of[node_of >= 0], minlength=count)
    return Observation(ts=1, model=ModelFigures(loss=1.0, **figures), node_of=node_of, node_sizes=sizes)


def test_balance_and_dead_nodes(close_window: Any) -> None:
    values = close_window(GROUP, nodes([0, 0, 0, 1, 1, 2, -1, 2]))
    assert values["index_max_over_mean"] == pytest.approx(math.log(3 / (7 / 4)))
    assert values["index_dead_share"] == 0.25


def test_churn_counts_items_that_have_a_node_in_both_windows(close_window: Any) -> None:
    group = GROUP.create()
    assert math.isnan(close_window(group, nodes([0, 1, 2, -1]))["index_churn"])
    assert close_window(group, nodes([0, 3, -1, 2, 1]))["index_churn"] == 0.5


def test_a_sample_is_compared_when_there_are_many_items(close_window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_SAMPLE", 4)
    group = GROUP.create()
    close_window(group, nodes([0, 1, 2, 3]))
    grown = [3, 1, 2, 3, 0, 0, 0, 0]  # every second row is compared now: of rows 0 and 2 the first has moved
    assert close_window(group, nodes(grown))["index_churn"] == 0.5
    assert len(group.state_dict()["nodes"]) == 4 * 4  # bytes: four rows, however many items


def test_before_there_are_nodes_nothing_is_measured(close_window: Any) -> None:
    assert all(math.isnan(value) for value in close_window(GROUP, nodes([])).values())


def test_staleness_is_of_the_items_assigned_anew_in_the_window(close_window: Any) -> None:
    group = GROUP.create()
    values = close_window(group, nodes([0, 1], assigned=30, moved=3), nodes([0, 1], assigned=10, moved=1))
    assert values["index_stale_share"] == pytest.approx(0.1)
    assert math.isnan(close_window(group, nodes([0, 1]))["index_stale_share"])


def test_similarity_is_to_the_nearest_other_node(close_window: Any) -> None:
    vectors = np.array([[1, 0], [2, 0], [0, 3], [0, -1]], np.float32)
    seen = replace(nodes([0, 1]), node_vectors=lambda: vectors)
    assert close_window(GROUP, seen)["index_similarity"] == pytest.approx((1 + 1 + 0 + 0) / 4)
    same = replace(seen, node_vectors=lambda: np.ones((200, 3), np.float32))
    assert close_window(GROUP, same)["index_similarity"] == pytest.approx(1.0)


def test_the_similarity_of_items_is_to_their_own_node_and_of_every_fourth_window(close_window: Any) -> None:
    group, seen = GROUP.create(), replace(nodes([0, 1]), node_cosines=lambda: np.array([1.0, 0.5], np.float32))
    found = [close_window(group, seen)["index_item_similarity"] for _ in range(5)]
    assert [value for value in found if value == value] == [0.75, 0.75]
    assert found[0] == found[4]
    assert math.isnan(close_window(GROUP, nodes([0, 1]))["index_item_similarity"])
