"""Choice of the settings of the baselines on queries before the measured ones, as whoever serves them has to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.metrics.ranks import recall

# Cuts k whose recalls are added up to choose a setting: those that methods are compared at.
_CUTS = (20, 50)


def choose_columns(columns: Mapping[str, Sequence[str]], ranks: Mapping[str, NDArray[np.floating]]) -> dict[str, str]:
    """Choose the best column of each method by its ranks (queries,) on earlier queries; the first of equal ones.

    Parameters
    ----------
    columns : method -> columns
    ranks : column -> ranks
        Without ranks, or without queries, the first column is chosen.

    Examples
    --------
    >>> columns = {"popularity": ("popularity:24.0", "popularity:1.0")}
    >>> choose_columns(columns, {"popularity:24.0": np.array([30.0]), "popularity:1.0": np.array([3.0])})
    {'popularity': 'popularity:1.0'}
    >>> choose_columns(columns, {})
    {'popularity': 'popularity:24.0'}
    """
    return {method: max(names, key=lambda name: _value(ranks.get(name))) for method, names in columns.items()}


def _value(ranks: NDArray[np.floating] | None) -> float:
    return -1.0 if ranks is None or not len(ranks) else sum(recall(ranks, cut) for cut in _CUTS)
