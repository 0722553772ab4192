"""Distributions of context fields and item features, of a sample of the events."""

from __future__ import annotations

from typing import Any

import pytest

from hsnn.monitoring.observation import ModelFigures, Observation
from hsnn.monitoring.signals import features
from hsnn.monitoring.signals.features import GROUP


def batch(contexts: list[Any], items: list[Any] | None = None) -> Observation:
    return Observation(ts=1, model=ModelFigures(loss=1.0), contexts=contexts, item_features=items or [])


def test_values_are_counted_by_field(close_window: Any) -> None:
    phones = [{"device": "phone", "price": 3.5}] * 6 + [{"device": "tablet"}, None]
    values = close_window(GROUP, batch(phones, [{"category": ["shoes", "red"]}]), batch([{"device": "phone"}]))
    assert sorted(values["features_context_mix"].values()) == [1, 7]
    assert all(name.startswith("device=") for name in values["features_context_mix"])
    (name,) = values["features_item_mix"]
    assert name.startswith("category=")


def test_ids_as_values_are_spread_over_a_few_groups(close_window: Any) -> None:
    values = close_window(GROUP, *(batch([{"session": f"{part}-{number}"} for number in range(40)]) for part in "abcd"))
    assert len(values["features_context_mix"]) == 8
    assert sum(values["features_context_mix"].values()) == 160


def test_random_fields_fill_no_memory(close_window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_FIELDS", 1)
    values = close_window(GROUP, batch([{f"field{number}": "x"} for number in range(40)]))
    assert len(values["features_context_mix"]) == 8


def test_a_sample_of_a_large_batch_is_counted(close_window: Any) -> None:
    values = close_window(GROUP, batch([{"device": "phone"}] * 960))
    assert list(values["features_context_mix"].values()) == [48]
