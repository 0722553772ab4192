"""Every item of a step once: rows are taken from the tables once, whatever they are needed for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.optim.batch import Judged


class Places(NamedTuple):
    """Where candidates (U,), histories (B, L) and judged items (J,) are among the distinct rows; n of them: nowhere."""

    candidates: NDArray[np.int64]
    history: NDArray[np.int64]
    judged: NDArray[np.int64]


def distinct_rows(
    candidates: NDArray[np.int64], histories: list[NDArray[np.int32]], judged: Judged | None
) -> tuple[NDArray[np.int64], Places]:
    """Distinct rows (n,) of all items of a step, and where its parts are among them."""
    history = np.concatenate(histories)  # (B, L)
    known = history >= 0
    of_judged = np.zeros(0, np.int64) if judged is None else judged.items
    rows, inverse = np.unique(np.concatenate([candidates, of_judged, history[known]]), return_inverse=True)
    first, second = len(candidates), len(candidates) + len(of_judged)
    places = np.full(history.shape, len(rows), np.int64)
    places[known] = inverse[second:]
    return rows, Places(inverse[:first], places, inverse[first:second])
