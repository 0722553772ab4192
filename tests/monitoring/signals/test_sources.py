"""What the sources of candidates name, and how what they name ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.observation import MEMORY_NAMES, NEIGHBOURS_NAME, ModelFigures, Observation
from hsnn.monitoring.signals.sources import GROUP


def probed(sources: Any, ranks: Any = ()) -> Observation:
    model = ModelFigures(loss=1.0, sources=np.array(sources, np.uint8), ranks=np.array(ranks, np.float32))
    return Observation(ts=1, events=len(sources), model=model)


def test_an_item_may_have_two_sources_and_the_index_yields_what_has_none(close_window: Any) -> None:
    both = NEIGHBOURS_NAME + MEMORY_NAMES
    values = close_window(GROUP, probed([0, 0, 0, NEIGHBOURS_NAME]), probed([]), probed([0, both, both, MEMORY_NAMES]))
    assert values["sources_neighbours_share"] == 3 / 8
    assert values["sources_memory_share"] == 3 / 8
    assert values["sources_index_share"] == 4 / 8


def test_recall_is_by_source_and_needs_enough_events(close_window: Any) -> None:
    sources = np.r_[np.zeros(40), np.full(20, NEIGHBOURS_NAME)]
    ranks = np.r_[np.zeros(10), np.full(30, 0.5), np.zeros(20)]
    values = close_window(GROUP, probed(sources, ranks))
    assert values["sources_index_recall"] == pytest.approx(0.25)
    assert math.isnan(values["sources_neighbours_recall"])
    values = close_window(GROUP, probed(sources, ranks), probed(sources, ranks))
    assert values["sources_neighbours_recall"] == 1.0


def test_steps_that_did_not_look_are_left_out(close_window: Any) -> None:
    assert all(math.isnan(value) for value in close_window(GROUP, probed([])).values())
