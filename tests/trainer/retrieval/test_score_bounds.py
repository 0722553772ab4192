from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.retrieval.score_bounds import DotQuery, GroupedItems, ScoreBounds, row_dot_products

SPLIT = 5


def drawn(seed: int, items: int, nodes: int, width: int, scale: float, offset: float) -> tuple[GroupedItems, DotQuery]:
    """Items of every kind: clustered, far from zero, twins, zero vectors."""
    rng = np.random.default_rng(seed)
    vectors = offset + scale * rng.standard_normal((items, width)) * rng.exponential(1, (items, 1))
    vectors[rng.random(items) < 0.2] = 0
    vectors[rng.random(items) < 0.2] = vectors[0]
    members = GroupedItems(
        vectors.astype(np.float32),
        rng.normal(0, 3, items).astype(np.float32),
        np.sort(rng.choice(nodes, items)).astype(np.int32),
    )
    vector = rng.standard_normal(width) * (rng.random(width) < 0.8) * 10.0 ** rng.integers(-3, 3)
    return members, DotQuery(vector.astype(np.float32), SPLIT, rng.normal(0, 2, nodes).astype(np.float32))


worlds = st.builds(
    drawn,
    st.integers(0, 10**6),
    st.integers(1, 120),
    st.integers(1, 12),
    st.sampled_from([6, 16, 49]),
    st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    st.sampled_from([0.0, -2.0, 1e5]),
)


@pytest.mark.slow
@given(worlds)
@settings(max_examples=150, deadline=None)
def test_no_score_is_above_its_bounds(world):
    members, query = world
    everybody = np.arange(len(members.nodes))
    bounds = ScoreBounds(members, SPLIT)
    ceilings, scores = bounds.for_query(query), members.scores(query, everybody)
    assert (ceilings.items(everybody) >= scores).all()
    for number, node in enumerate(bounds.node):
        assert ceilings.nodes[number] >= scores[members.nodes == node].max()
        assert ceilings.nodes[number] >= ceilings.items(everybody)[members.nodes == node].max() - 1e-9


@pytest.mark.slow
@given(worlds)
@settings(max_examples=150, deadline=None)
def test_slack_covers_the_rounding_of_a_score(world):
    members, query = world
    scores = members.scores(query, np.arange(len(members.nodes)))
    true = members.vectors.astype(np.longdouble) @ query.vector.astype(np.longdouble)
    true += members.bias.astype(np.longdouble) + query.nodes[members.nodes].astype(np.longdouble)
    assert (
        np.abs(scores - true).max() <= ScoreBounds(members, SPLIT).slack(query) / 2
    )  # the other half is the bounds' own


@pytest.mark.slow
@given(worlds, st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_a_score_does_not_depend_on_its_company(world, seed):
    members, query = world
    rng = np.random.default_rng(seed)
    all_scores = members.scores(query, np.arange(len(members.nodes)))
    some = rng.choice(len(members.nodes), rng.integers(0, len(members.nodes) + 1))
    assert members.scores(query, some).tobytes() == all_scores[some].tobytes()


@pytest.mark.parametrize("width", [1, 7, 8, 9, 48, 127, 128, 129, 300])
def test_rows_are_summed_alike_however_many_there_are_and_wherever_they_lie(width):
    rng = np.random.default_rng(width)
    rows, vector = rng.standard_normal((700, width)).astype(np.float32), rng.standard_normal(width).astype(np.float32)
    together = row_dot_products(rows, vector)
    assert (
        together.tobytes()
        == np.concatenate([row_dot_products(rows[at : at + 1], vector) for at in range(700)]).tobytes()
    )
    assert together.tobytes() == row_dot_products(np.asfortranarray(rows), vector).tobytes()
    wider = np.zeros((700, width + 1), np.float32)
    wider[:, 1:] = rows
    assert together.tobytes() == row_dot_products(wider[:, 1:], vector).tobytes()
    np.testing.assert_allclose(together, rows @ vector, atol=1e-4)


def test_a_node_of_one_item_is_bounded_by_its_score():
    members, query = drawn(3, 40, 40, 16, 1.0, 0.0)
    alone = GroupedItems(members.vectors, members.bias, np.arange(40, dtype=np.int32))
    bounds = ScoreBounds(alone, SPLIT)
    above = bounds.for_query(query).nodes - alone.scores(query, np.arange(40))
    assert (above > 0).all()
    assert (above <= 2 * bounds.slack(query)).all()


def test_an_item_near_the_centre_is_told_from_one_at_the_rim():
    vectors = np.array([[4, 4], [-4, -4], [4, -4], [-4, 4], [0, 0]], np.float32)
    members = GroupedItems(vectors, np.zeros(5, np.float32), np.zeros(5, np.int32))
    query = DotQuery(np.array([1, 1], np.float32), 1, np.zeros(1, np.float32))
    assert ScoreBounds(members, 1).for_query(query).items(np.arange(5)) == pytest.approx([8, 8, 8, 8, 0], abs=1e-4)


@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e-22])
def test_slack_covers_what_is_too_small_for_its_digits(size):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((50, 16)) * size).astype(np.float32)
    members = GroupedItems(vectors, np.zeros(50, np.float32), np.arange(50, dtype=np.int32) // 5)
    query = DotQuery((rng.standard_normal(16) * 1e-18).astype(np.float32), SPLIT, np.zeros(10, np.float32))
    ceilings, scores = ScoreBounds(members, SPLIT).for_query(query), members.scores(query, np.arange(50))
    assert (ceilings.items(np.arange(50)) >= scores).all()
    assert (np.repeat(ceilings.nodes, 5) >= scores).all()
