from __future__ import annotations

import numpy as np
import pytest

from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.trainer.model.array_monn import MonnArrays


def test_requests_of_one_time_share_item_vectors(plant, mirror):
    first = mirror.state.item_vectors(plant.now)
    assert mirror.state.item_vectors(plant.now) is first
    assert mirror.state.item_vectors(plant.now + 1) is not first


def test_item_vectors_hold_the_retrievable_rows_grouped_by_node(plant, mirror):
    mirror.apply_delta(plant.delete(7))
    items, nodes = mirror.state.item_vectors(plant.now), mirror.state.index.leaves.node_of
    assert sorted(items.rows.tolist()) == [row for row in range(60) if row != 7]
    assert (np.diff(items.vectors.nodes) >= 0).all()
    assert (items.vectors.nodes == nodes[items.rows]).all()


@pytest.mark.parametrize("change", ["state", "insert", "move", "delete", "version"])
def test_no_change_is_missed(plant, mirror, monkeypatch, change):
    """After a change, what is answered from item vectors is what the model says without one."""
    rng = np.random.default_rng(0)
    for name, weight in plant.weights.items():
        plant.weights[name] = rng.normal(0, 0.4, weight.shape).astype(np.float32)
    plant.load(mirror)
    request = Request(user="nobody", history=["c2-0"], mode="exhaustive", k=60)
    retrieve(mirror, [request])
    before = mirror.state.item_vectors(mirror.state.watermark)
    _change(plant, mirror, change)
    answer = retrieve(mirror, [request])[0]
    assert mirror.state.item_vectors(mirror.state.watermark) is not before
    monkeypatch.setattr(MonnArrays, "has_dot_product_scores", property(lambda self: False))
    plain = retrieve(mirror, [request])[0]
    scores = dict(zip(plain.items, plain.scores, strict=True))
    assert set(answer.items) == set(scores)
    assert answer.scores == pytest.approx([scores[item] for item in answer.items], abs=1e-4)


def _change(plant, mirror: Mirror, change: str) -> None:
    if change == "state":
        plant.engage("x", "c5-9")
        mirror.apply_state(plant.state())
    elif change == "insert":
        mirror.apply_delta(plant.add("fresh", 4))
    elif change == "move":
        mirror.apply_delta(plant.move(11, 5))
    elif change == "delete":
        mirror.apply_delta(plant.delete(11))
    else:
        plant.weights["over_arch.ensemble"] = plant.weights["over_arch.ensemble"] + np.float32(0.5)
        plant.vectors = [vector + np.float32(0.1) for vector in plant.vectors]
        plant.load(mirror)
