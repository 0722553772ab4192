"""From judgements, impressions whose fate is known, to what the tasks learn from.

A judgement comes an attribution window after its impression. What the user did since is not to be seen: histories are
cut at the time of the impression, or the answer would be in the question.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.cross_features import CROSS_FEATURES, MATCHES, cross_features
from hsnn.trainer.features.queries import Queries
from hsnn.trainer.features.user_history import UserHistories

_CHUNK = 64


def histories_at(
    histories: UserHistories, users: NDArray[np.integer], ts: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Histories (J, L) of `users` (J,) as they were before `ts` (J,), as far as they are still known; newest last.

    Examples
    --------
    >>> histories = UserHistories(length=3)
    >>> _ = histories.extend(np.array([0, 0, 0]), np.array([7, 8, 9]), np.array([10, 20, 30]))
    >>> histories_at(histories, np.array([0]), np.array([30]))[0].tolist()
    [[-1, 7, 8]]
    """
    items, times = histories.of(users)
    later = (times >= ts[:, None]) | (items < 0)
    items[later], times[later] = -1, 0
    order = np.argsort(~later, axis=1, kind="stable")  # what is left moves to the end
    return np.take_along_axis(items, order, 1), np.take_along_axis(times, order, 1)


def pair_cross_features(
    queries: Queries, tokens: NDArray[np.int32], items: NDArray[np.int64], pairs: Covisitation
) -> NDArray[np.float32]:
    """Cross features (J, C) of each query and its own item of `items` (J,).

    Co-visitation is left at zero: by now it has counted the very action that is judged.
    """
    out = np.empty((len(items), CROSS_FEATURES), np.float32)
    for start in range(0, len(items), _CHUNK):
        part = slice(start, start + _CHUNK)
        candidates, places = np.unique(items[part], return_inverse=True)
        chunk = queries.some(part)
        out[part] = cross_features(chunk, tokens, candidates, pairs)[np.arange(len(places)), places]
    out[:, MATCHES:] = 0
    return out
