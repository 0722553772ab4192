"""Leaves against a dictionary: whatever is put, moved, weighed and removed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.retrieval.inverted_lists import InvertedLists

NODES, ROWS = 4, 8
PRIOR = 0.02
MASSES = st.one_of(st.just(-np.inf), st.floats(-5, 900))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("assign"), st.integers(0, ROWS - 1), st.integers(0, NODES - 1)),
        st.tuples(st.just("remove"), st.integers(0, ROWS - 1)),
        st.tuples(
            st.just("assign_rows"), st.dictionaries(st.integers(0, ROWS - 1), st.integers(0, NODES - 1), max_size=ROWS)
        ),
        st.tuples(st.just("remove_rows"), st.sets(st.integers(0, 2 * ROWS), max_size=ROWS)),
        st.tuples(st.just("set_log_mass"), st.dictionaries(st.integers(0, ROWS - 1), MASSES, max_size=ROWS)),
        st.tuples(st.just("assign_all"), st.lists(st.integers(-1, NODES - 1), max_size=ROWS)),
    ),
    max_size=30,
)


class Naive:
    """What leaves are, without a thought for time."""

    def __init__(self) -> None:
        self.node_of: dict[int, int] = {}
        self.log_mass: dict[int, float] = {}

    def assign(self, row: int, node: int) -> None:
        self.node_of[row] = node

    def remove(self, row: int) -> None:
        self.node_of.pop(row, None)

    def assign_rows(self, nodes: dict[int, int]) -> None:
        self.node_of |= nodes

    def remove_rows(self, rows: set[int]) -> None:
        self.node_of = {row: node for row, node in self.node_of.items() if row not in rows}

    def set_log_mass(self, masses: dict[int, float]) -> None:
        self.log_mass |= masses

    def assign_all(self, nodes: list[int]) -> None:
        self.node_of = {row: node for row, node in enumerate(nodes) if node >= 0}

    def members(self, node: int) -> set[int]:
        return {row for row, at in self.node_of.items() if at == node}

    def relative(self) -> dict[int, float]:
        """Mass of every held row, the largest being 1."""
        logs = {row: self.log_mass.get(row, -np.inf) for row in self.node_of}
        top = max(logs.values(), default=-np.inf)
        return {row: float(np.exp(log - top)) if np.isfinite(top) else 0.0 for row, log in logs.items()}

    def shares(self) -> np.ndarray:
        masses = self.relative()
        prior = PRIOR * sum(masses.values()) / max(len(masses), 1)
        nodes = np.array([sum(masses[row] + prior for row in self.members(node)) for node in range(NODES)])
        return np.log(np.maximum(nodes / max(nodes.sum(), 1e-300), 1e-6))

    def key(self, row: int, logits: np.ndarray) -> float:
        masses, node = self.relative(), self.node_of[row]
        prior = PRIOR * sum(masses.values()) / len(masses)
        return float(logits[node] + np.log((masses[row] + prior) / sum(masses[r] + prior for r in self.members(node))))


def apply(leaves: InvertedLists, naive: Naive, step: tuple) -> None:
    name, *arguments = step
    getattr(naive, name)(*arguments)
    if name == "set_log_mass":
        leaves.set_log_mass(np.array(list(arguments[0]), np.int64), np.array(list(arguments[0].values()), np.float64))
    elif name == "assign_rows":
        leaves.assign_rows(np.array(list(arguments[0]), np.int64), np.array(list(arguments[0].values()), np.int64))
    elif name == "remove_rows":
        leaves.remove_rows(np.array(sorted(arguments[0]), np.int64))
    elif name == "assign_all":
        leaves.assign_all(np.array(arguments[0], np.int32))
    else:
        getattr(leaves, name)(*arguments)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(STEPS, st.lists(st.floats(-3, 0), min_size=NODES, max_size=NODES))
def test_any_sequence_of_changes_equals_the_naive_model(steps, logits):
    leaves, naive = InvertedLists(NODES), Naive()
    for step in steps:
        apply(leaves, naive, step)
    for node in range(NODES):
        assert set(leaves.members(node).tolist()) == naive.members(node)
    assert leaves.sizes.tolist() == [len(naive.members(node)) for node in range(NODES)]
    assert len(leaves) == len(naive.node_of)
    assert {row: int(leaves.node_of[row]) for row in range(ROWS) if leaves.node_of[row] >= 0} == naive.node_of
    np.testing.assert_allclose(leaves.node_log_share(), naive.shares(), atol=1e-4)
    everything = leaves.candidates(np.array(logits, np.float32), beam=NODES, budget=ROWS)
    assert sorted(everything.rows.tolist()) == sorted(naive.node_of)
    assert (everything.opened, everything.considered) == (len(set(naive.node_of.values())), len(naive.node_of))
    if any(naive.relative().values()):
        keys = np.array([naive.key(row, np.array(logits)) for row in everything.rows_by_key().tolist()])
        assert (np.diff(keys) < 1e-4).all()  # merge order: best first


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_sums_and_nodes_restore_the_very_same_leaves(steps):
    leaves, naive = InvertedLists(NODES), Naive()
    for step in steps:
        apply(leaves, naive, step)
    again = InvertedLists(NODES)
    again.load_columns({name: column[:ROWS].copy() for name, column in leaves.columns().items()})
    again.load_state_dict(leaves.state_dict())
    assert again.node_log_share().tobytes() == leaves.node_log_share().tobytes()
    for other in (leaves, again):
        apply(other, Naive(), ("set_log_mass", {0: 3.0, 1: -1.0}))
        apply(other, Naive(), ("assign", 2, 3))
    assert again.node_log_share().tobytes() == leaves.node_log_share().tobytes()


@pytest.fixture
def leaves() -> InvertedLists:
    """Node 0: rows 0 (heavy), 1, 2; node 1: rows 3, 4; node 2: nothing; node 3: row 5."""
    leaves = InvertedLists(NODES)
    leaves.assign_all(np.array([0, 0, 0, 1, 1, 3], np.int32))
    leaves.set_log_mass(np.arange(6), np.log([8.0, 1.0, 1.0, 2.0, 2.0, 1.0]))
    return leaves


def flat(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_only_the_best_nodes_are_opened(leaves):
    found = leaves.candidates(flat(-1, -3, 0, -2), beam=2, budget=10)
    assert set(found.rows.tolist()) == {0, 1, 2, 5}  # the empty node is never one of them
    assert (found.opened, found.considered) == (2, 4)


def test_a_popular_item_of_a_worse_node_goes_before_an_unpopular_one_of_the_best(leaves):
    assert leaves.candidates(flat(0, -0.5, 0, -9), beam=3, budget=3).rows_by_key().tolist() == [0, 3, 4]


def test_the_budget_is_spent_on_allowed_items_only(leaves):
    asked = []

    def allow(rows):
        asked.append(sorted(rows.tolist()))
        return ~np.isin(rows, [0, 3])

    found = leaves.candidates(flat(0, 0, 0, -9), beam=2, budget=3, allow=allow)
    assert asked == [[0, 1, 2, 3, 4]]
    assert set(found.rows.tolist()) == {4, 1, 2}
    assert found.considered == 3


def test_nothing_indexed_nothing_found():
    found = InvertedLists(3).candidates(flat(0, 0, 0), beam=2, budget=5)
    assert (found.rows.tolist(), found.opened, found.considered) == ([], 0, 0)


def test_another_half_life_rescales_everything(leaves):
    leaves.set_log_mass(np.arange(6), 900 + np.log([1.0, 1.0, 2.0, 4.0, 4.0, 4.0]))
    np.testing.assert_allclose(np.exp(leaves.node_log_share()), [0.25, 0.5, 1e-6, 0.25], rtol=0.02)


def test_an_item_far_heavier_than_all_others_does_not_overflow(leaves):
    leaves.set_log_mass(np.array([5]), np.array([5000.0]))
    share = np.exp(leaves.node_log_share())
    assert share[3] > 0.8
    assert np.isfinite(share).all()
    leaves.remove(5)
    assert np.isfinite(leaves.candidates(flat(0, 0, 0, 0), beam=4, budget=2).rows).all()


def test_the_share_of_an_item_in_no_node_is_defined_however_heavy_it_is(leaves):
    leaves.set_log_mass(np.array([900]), np.array([5000.0]))
    assert leaves.node_of[900] == -1
    assert leaves.log_share_within(np.array([900, 900]), np.array([0, 1])).tolist() == [0.0, 0.0]


def test_traffic_follows_a_moving_item(leaves):
    before = np.exp(leaves.node_log_share())
    leaves.assign(0, 1)
    after = np.exp(leaves.node_log_share())
    assert after[1] - before[1] == pytest.approx(before[0] - after[0], rel=1e-3)
    leaves.assign(0, 0)
    np.testing.assert_allclose(np.exp(leaves.node_log_share()), before, rtol=1e-5)


def test_an_unseen_item_has_a_share():
    leaves = InvertedLists(1)
    leaves.assign_all(np.array([0, 0], np.int32))
    leaves.set_log_mass(np.array([0]), np.array([0.0]))
    assert leaves.select_best(np.array([1, 0]), flat(0), budget=2).rows_by_key().tolist() == [0, 1]
    assert np.isfinite(leaves.node_log_share()).all()


def test_rows_beyond_the_first_thousand():
    leaves = InvertedLists(2)
    for row in range(3000):
        leaves.assign(row, row % 2)
    leaves.remove(2999)
    leaves.remove(9999)  # never heard of
    assert leaves.sizes.tolist() == [1500, 1499]
    assert len(leaves.members(0)) == 1500


def test_restored_leaves_sum_a_node_again_to_the_same_bits():
    """Members lie in the order in which they came and went; restored ones by row. A sum must not depend on it."""
    rng = np.random.default_rng(0)
    leaves = InvertedLists(3)
    for row in rng.permutation(400).tolist():
        leaves.assign(row, row % 3)
    leaves.set_log_mass(np.arange(400), rng.normal(size=400))
    leaves.set_log_mass(np.array([6, 7]), np.array([30.0, 30.0]))  # of node 0 and node 1
    for row in rng.permutation(np.arange(8, 400))[:50].tolist():
        leaves.remove(row)
        leaves.assign(row, (row + 1) % 3)
    again = InvertedLists(3)
    again.load_columns({name: column[:400] for name, column in leaves.columns().items()})
    again.load_state_dict(leaves.state_dict())
    for one in (leaves, again):
        one.remove(7)  # nearly all of its node's traffic: the rest is summed again
    assert leaves.state_dict()["mass"].tobytes() == again.state_dict()["mass"].tobytes()


def test_many_moves_at_once_are_what_they_are_one_by_one(monkeypatch):
    rng = np.random.default_rng(1)
    one_by_one, at_once = InvertedLists(5), InvertedLists(5)
    for leaves in (one_by_one, at_once):
        leaves.assign_all(np.arange(300, dtype=np.int32) % 4 - 1)  # a third is in no node
        leaves.set_log_mass(np.arange(300), np.linspace(-3, 3, 300))
    rows, nodes = rng.permutation(300)[:200], rng.integers(0, 5, 200)
    one_by_one.assign_rows(rows, nodes)
    monkeypatch.setattr("hsnn.trainer.retrieval.inverted_lists._MANY", 10)
    at_once.assign_rows(rows, nodes)
    assert at_once.node_of.tolist() == one_by_one.node_of.tolist()
    assert at_once.sizes.tolist() == one_by_one.sizes.tolist()
    assert at_once.state_dict()["mass"] == pytest.approx(one_by_one.state_dict()["mass"])
    for node in range(5):
        assert sorted(at_once.members(node)) == sorted(one_by_one.members(node))
    at_once.remove(int(rows[0]))  # slots are right, too
    one_by_one.remove(int(rows[0]))
    assert [sorted(at_once.members(node)) for node in range(5)] == [
        sorted(one_by_one.members(node)) for node in range(5)
    ]


@pytest.mark.parametrize("many", [True, False])
def test_lists_grow_move_and_are_laid_out_anew_without_losing_a_row(many):
    """Nodes fill up one after the other and drain again, far beyond the room they began with."""
    leaves, rng, rows = InvertedLists(NODES), np.random.default_rng(0), 2000
    expected = np.full(rows, -1)
    for turn in range(60):
        moved = rng.choice(rows, 300, replace=False)
        to = rng.integers(turn % NODES + 1, size=300)
        if many:
            leaves.assign_rows(moved, to)
        else:
            for row, node in zip(moved.tolist(), to.tolist(), strict=True):
                leaves.assign(row, node)
        expected[moved] = to
        gone = rng.choice(rows, 100, replace=False)
        leaves.remove_rows(gone)
        expected[gone] = -1
    assert (leaves.node_of[:rows] == expected).all()
    for node in range(NODES):
        assert sorted(leaves.members(node).tolist()) == np.flatnonzero(expected == node).tolist()


def test_the_listener_hears_of_every_row_before_it_changes(leaves):
    first: dict[int, int] = {}

    def listen(rows):
        for row in np.ravel(rows).tolist():
            first.setdefault(row, int(leaves.node_of[row]))

    leaves.barrier.subscribe(listen)
    leaves.assign_rows(np.array([0, 1, 7]), np.array([0, 2, 1]))  # the first stays where it is
    leaves.remove_rows(np.array([3, 6]))  # the second is nowhere
    assert first == {1: 0, 7: -1, 3: 1}
