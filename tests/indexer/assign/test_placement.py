"""Placement on a line: nodes stand at 0, 10, 20, ..., items somewhere between them."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.indexer.assign.assigner import Assigner, Assignment
from hsnn.indexer.assign.capacity import NEAREST_NODE, NodeCapacity, PlacementRules
from hsnn.indexer.assign.placement import place_all, place_in_order

NODES = 4


class Line:
    """An encoder whose vectors are places on the line."""

    node_vectors = 10 * np.arange(NODES, dtype=np.float32)[:, None]

    def vectors(self, embeddings, tokens):
        return tokens[:, :1].astype(np.float32)

    def assign(self, vectors):
        return self.distances(vectors).argmin(1).astype(np.int32)

    def distances(self, vectors):
        return np.square(vectors - self.node_vectors.T)

    def distances_to(self, vectors, nodes):
        return self.distances(vectors)[np.arange(len(nodes)), nodes]

    def representatives(self, vectors, rows, nodes):
        return np.full(NODES, -1, np.int32)


def assigner(rules: PlacementRules) -> Assigner:
    nothing = SimpleNamespace(items={"embeddings": np.zeros((0, 1), np.float32)}, item_ids=[])
    return Assigner(nothing, Line(), rules=rules)


def assignment(*places: float) -> Assignment:
    vectors = np.array(places, np.float32)[:, None]
    return Assignment(vectors, Line().assign(vectors))


def nowhere(count: int) -> np.ndarray:
    return np.full(count, -1, np.int32)


def place_one_by_one(rules, places, before=None, sizes=(0,) * NODES):
    before = nowhere(len(places)) if before is None else np.array(before, np.int32)
    return place_in_order(assigner(rules), assignment(*places), before, NodeCapacity(rules, np.array(sizes)))


def test_without_rules_every_item_is_in_its_nearest_node():
    places = (1.0, 9.0, 2.0, 31.0, 4.9)
    for placement in (
        place_one_by_one(NEAREST_NODE, places),
        place_all(assigner(NEAREST_NODE), assignment(*places), nowhere(5)),
    ):
        assert placement.nodes.tolist() == [0, 1, 0, 3, 0]
        assert placement.preferred.tolist() == [-1] * 5


def test_who_finds_a_node_full_goes_to_the_next_and_remembers():
    rules = PlacementRules(over_mean=1.0, floor=2)
    placement = place_one_by_one(rules, (1.0, 1.0, 1.0, 4.0))
    assert placement.nodes.tolist() == [0, 0, 1, 1]
    assert placement.preferred.tolist() == [-1, -1, 0, 0]


def test_in_a_new_version_the_nearest_stay_whatever_the_order():
    rules = PlacementRules(over_mean=1.0, floor=2)
    placement = place_all(assigner(rules), assignment(4.0, 1.0, 3.0, 0.0), nowhere(4))
    assert placement.nodes.tolist() == [1, 0, 1, 0]
    assert placement.preferred.tolist() == [0, -1, 0, -1]


def test_a_move_makes_room_where_it_leaves():
    rules = PlacementRules(over_mean=1.0, floor=1)
    placement = place_one_by_one(rules, (10.0, 0.0), before=(0, -1), sizes=(1, 0, 1, 1))
    assert placement.nodes.tolist() == [1, 0]


def test_an_item_leaves_its_node_only_for_one_that_is_nearer_by_the_margin():
    for margin, stays in ((0.0, False), (0.2, False), (0.3, True)):  # 5.5 is 5.5 from its node, 4.5 from the nearest
        rules = PlacementRules(margin=margin)
        assert place_one_by_one(rules, (5.5,), before=(0,), sizes=(1, 0, 0, 0)).nodes.tolist() == [0 if stays else 1]
        assert place_all(assigner(rules), assignment(5.5), np.array([0], np.int32)).nodes.tolist() == [
            0 if stays else 1
        ]


def test_a_full_node_is_no_reason_to_leave_for_one_that_is_hardly_nearer():
    rules = PlacementRules(margin=0.5, over_mean=1.0, floor=2)
    waiting = place_one_by_one(rules, (12.0,), before=(2,), sizes=(0, 2, 1, 0))
    assert (waiting.nodes.tolist(), waiting.preferred.tolist()) == ([2], [1]), "0 is farther, 1 is full"


def test_between_two_nodes_an_item_does_not_flap():
    """Nodes shake a little from model to model; an item in the middle changes sides again and again, or never."""
    rng, moves = np.random.default_rng(0), {}
    shaken = 5.0 + rng.normal(0, 0.3, 200)
    for margin in (0.0, 0.3):
        made, node = assigner(PlacementRules(margin=margin)), np.array([0], np.int32)
        moves[margin] = 0
        for place in shaken:
            after = place_all(made, assignment(place), node).nodes
            moves[margin] += int(after[0] != node[0])
            node = after
    assert moves[0.0] > 50
    assert moves[0.3] <= 1


@pytest.mark.parametrize("bulk", [False, True])
@given(data=st.data())
def test_no_node_is_ever_above_its_cap_and_only_for_want_of_room_is_an_item_elsewhere(bulk, data):
    places = data.draw(st.lists(st.floats(-5, 36, width=32), min_size=1, max_size=40))
    before = data.draw(st.lists(st.integers(-1, NODES - 1), min_size=len(places), max_size=len(places)))
    rules = PlacementRules(
        data.draw(st.sampled_from([0.0, 0.2])), data.draw(st.floats(1, 3)), data.draw(st.integers(0, 3))
    )
    if bulk:
        placement = place_all(assigner(rules), assignment(*places), np.array(before, np.int32))
        cap = rules.node_cap(len(places), NODES)
    else:
        before = nowhere(len(places)).tolist()
        capacity = NodeCapacity(rules, np.zeros(NODES, np.int64))
        placement, sizes = (
            place_in_order(assigner(rules), assignment(*places), nowhere(len(places)), capacity),
            np.zeros(NODES, np.int64),
        )
        for count, node in enumerate(placement.nodes.tolist(), 1):
            sizes[node] += 1
            assert sizes.max() <= rules.node_cap(count, NODES)
        assert capacity.sizes.tolist() == sizes.tolist()
        cap = capacity.cap
    sizes = np.bincount(placement.nodes, minlength=NODES)
    assert sizes.max() <= cap
    nearest = assignment(*places).nodes
    for node, preferred, near, old in zip(placement.nodes, placement.preferred, nearest, before, strict=True):
        assert node in (near, old) or preferred >= 0
        if preferred >= 0 and bulk:
            assert sizes[preferred] == cap


def test_the_cap_follows_the_most_that_was_there_and_never_falls():
    capacity = NodeCapacity(PlacementRules(over_mean=2.0), np.zeros(NODES, np.int64))
    for number in range(20):
        capacity.add(number % NODES)
    assert capacity.cap == 10
    for number in range(16):
        capacity.remove(number % NODES)
    assert capacity.cap == 10, "departures alone break no bound"
