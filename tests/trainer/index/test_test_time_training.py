"""Test-time pairs against plain loops over nodes, children and what users engaged with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.index.objective import node_log_loss
from hsnn.trainer.index.test_time_training import interest_rate, select_test_time_pairs
from hsnn.trainer.retrieval.inverted_lists import InvertedLists

COUNTS = [(6,), (3, 6), (2, 4, 12)]
ITEMS = 20


def leaves_of(nodes: list[int], count: int) -> InvertedLists:
    leaves = InvertedLists(count)
    leaves.assign_all(np.array(nodes, np.int32))
    return leaves


def plain_interest(counts: tuple[int, ...], level: int, node: int, places: list[int], engaged: list[int]) -> float:
    """Share of a node's children that hold anything which one user engaged with; items are the children of leaves."""
    below = counts[-1] // counts[level]
    mine = {item for item, leaf in enumerate(places) if leaf >= 0 and leaf // below == node}
    if level + 1 == len(counts):
        child_of = {item: item for item in mine}
    else:
        child_of = {item: places[item] // (counts[-1] // counts[level + 1]) for item in mine}
    children = set(child_of.values())
    touched = {child_of[item] for item in engaged if item in mine}
    return len(touched) / len(children) if children else 0.0


worlds = st.sampled_from(COUNTS).flatmap(
    lambda counts: st.tuples(
        st.just(counts),
        st.integers(0, len(counts) - 1),
        st.lists(st.integers(-1, counts[-1] - 1), min_size=ITEMS, max_size=ITEMS),
        st.lists(st.lists(st.integers(-1, ITEMS - 1), min_size=5, max_size=5), min_size=1, max_size=6),
        st.integers(0, 2**20),
    )
)


@settings(deadline=None)
@given(worlds)
def test_interest_by_hand(drawn):
    counts, level, places, engaged, seed = drawn
    nodes = np.random.default_rng(seed).integers(counts[level], size=len(engaged))
    found = interest_rate(counts, level, nodes, leaves_of(places, counts[-1]), np.array(engaged))
    expected = [plain_interest(counts, level, int(node), places, own) for node, own in zip(nodes, engaged, strict=True)]
    assert found.tolist() == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(
    levels=st.sampled_from([1, 2, 3]),
    seed=st.integers(0, 50),
    beam=st.integers(1, 12),
    depth=st.integers(1, 3),
    rate=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    places=st.lists(st.integers(-1, 11), min_size=15, max_size=15),
)
def test_kept_pairs_by_hand(toy, levels, seed, beam, depth, rate, places):
    """Of users whose search opens the leaf of their next item: the deepest levels' nodes, if engaged with enough."""
    small = toy(levels, seed=seed)
    view, counts = small.view(), small.config.model.levels
    rng = np.random.default_rng(seed)
    history, items = rng.integers(-1, 15, size=(7, 4)), small.step.targets.numpy()
    config = IndexConfig(test_time_depth=depth, test_time_interest=rate)
    found = select_test_time_pairs(view, config, beam, leaves_of(places, 12), history, items)
    for user, target in enumerate(items.tolist()):
        log_p = small.plain_beam(user, beam)[-1]
        opened = sorted(log_p, key=log_p.__getitem__, reverse=True)[:beam]
        relevant = int(view.paths[-1].nodes[target]) in opened
        for level in range(levels):
            node = int(view.paths[level].nodes[target])
            enough = plain_interest(counts, level, node, places, [*history[user].tolist(), target]) >= rate
            assert float(found[level][user]) == float(relevant and enough and levels - level <= depth)


def test_only_kept_pairs_teach(toy):
    """A user without a kept pair has no gradient, one with a pair at the leaves only has none above them."""
    small = toy(2)
    mask = [torch.tensor([1.0, 0, 0, 0, 0, 0, 0]), torch.tensor([1.0, 1, 0, 0, 0, 0, 0])]
    node_log_loss(small.view(), mask).backward()
    felt: list[Any] = [users.grad.any(1).tolist() for users in small.step.users]
    assert felt[0] == [True, False, False, False, False, False, False]
    assert felt[1] == [True, True, False, False, False, False, False]
