"""The mirror's side of the cross features: fed and loaded alike, the same columns as in training, nothing if off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import HistoryItem, Request
from hsnn.serving.search.queries import queries_from_requests
from hsnn.trainer.features.cross_features import CROSS_FEATURES
from hsnn.trainer.features.hashing import hash_features, pad_tokens
from hsnn.trainer.modules.cross_inputs import cross_features


@pytest.fixture
def crossed(new_plant: Callable[..., Any]) -> Any:
    """A plant with cross features: items of two genres; users ``u0`` to ``u4`` have seen some of them in turn."""
    plant = new_plant(cross=True)
    for number in range(12):
        plant.add(f"i{number}", number % 6, genre=["war", "love"][number % 2], year=1990 + number % 3)
    for number in range(30):
        plant.engage(f"u{number % 5}", f"i{(number // 5 + number) % 12}")
    return plant


def columns(mirror: Mirror, *requests: Request) -> np.ndarray:
    state = mirror.state
    queries, rows = queries_from_requests(state, requests), np.arange(len(state.items.ids))
    return np.stack([state.cross_features.features(queries, number, rows) for number in range(len(requests))])


def test_a_mirror_computes_the_columns_that_training_does(crossed):
    mirror = Mirror()
    crossed.load(mirror)
    requests = [Request(user=f"u{number}") for number in range(5)]
    content = [hash_features(one, crossed.config.buckets, crossed.config.item_tokens) for one in crossed.features]
    matrix = pad_tokens(content, crossed.config.item_tokens)
    wanted = cross_features(queries_from_requests(mirror.state, requests), matrix, np.arange(12), crossed.pairs)
    assert (wanted > 0).any(axis=(0, 1)).sum() >= 4  # two fields, two half-lives
    np.testing.assert_allclose(columns(mirror, *requests), wanted, atol=1e-6)


def test_a_fed_mirror_equals_a_loaded_one(crossed):
    fed, loaded = Mirror(), Mirror()
    crossed.load(fed)
    crossed.state()
    fed.apply_delta(crossed.add("late", 2, genre="love"))
    for name in ("late", "i3", "late"):
        crossed.engage("u1", name)
        fed.apply_state(crossed.state())
    crossed.features[0] = {"genre": "love"}
    fed.apply_delta(crossed.insert(0, "changed"))
    crossed.load(loaded)
    requests = [
        Request(user="u1"),
        Request(user="x", history=[HistoryItem("late", crossed.now), HistoryItem("i0", crossed.now)]),
    ]
    one, other = columns(fed, *requests), columns(loaded, *requests)
    assert one[:, :, -2:].any()
    assert np.array_equal(one, other)
    crossed.load(fed)  # the next version changes nothing
    assert np.array_equal(columns(fed, *requests), other)


def test_a_version_brings_changed_tokens(crossed):
    mirror = Mirror()
    crossed.load(mirror)
    crossed.features[3] = {"genre": "comedy"}
    crossed.load(mirror)
    found = mirror.state.cross_features.tokens[3]
    assert found[found >= 0].tolist() == hash_features({"genre": "comedy"}, crossed.config.buckets, 8)


@pytest.mark.slow
def test_rows_that_are_not_known_yet_have_room(crossed):
    mirror = Mirror()
    crossed.load(mirror)
    for number in range(1500):
        mirror.apply_delta(crossed.add(f"n{number}", 0, genre="war"))
    crossed.engage("u0", "n1499")
    mirror.apply_state(crossed.state())
    assert columns(mirror, Request(user="u0")).shape == (1, 1512, CROSS_FEATURES)


def test_without_cross_features_nothing_is_kept(plant, mirror):
    plant.engage("u0", "c1-1")
    mirror.apply_state(plant.state())
    mirror.apply_delta(plant.add("newcomer", 3, topic="c3"))
    held = mirror.state.cross_features
    assert (len(held.tokens), len(held.covisitation.last)) == (0, 0)
