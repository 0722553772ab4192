"""The exclusion rule: which of a user's past items are left out, in serving, evaluation and training alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.user_memory import DISLIKED, MemoryEntries
from hsnn.trainer.messages import ExclusionRule


def excluded_items(
    rule: ExclusionRule,
    history_items: NDArray[np.integer],
    history_times: NDArray[np.int64],
    memory: MemoryEntries,
    now: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Return the items that are left out for n users: (n, E) int32, each once, oldest first, -1 padded in front.

    Parameters
    ----------
    rule
    history_items, history_times : (n, L)
        Last items, newest last, -1 where there is none: those of the trainer, or those that a request brings.
    memory : MemoryEntries
        What is remembered of the same users (n), which counts as older than the history.
    now : (n,) int64
        Times of the questions, epoch ms.

    Examples
    --------
    >>> history = np.array([[7, 7, 8]]), np.array([[5_000, 6_000, 7_000]])
    >>> memory, now = MemoryEntries.empty(1), np.array([10_000])
    >>> excluded_items(ExclusionRule("recent", items=1, time_ms=0), *history, memory, now).tolist()
    [[8]]
    >>> excluded_items(ExclusionRule("recent", items=1, time_ms=4_000), *history, memory, now).tolist()
    [[7, 8]]
    >>> excluded_items(ExclusionRule("nothing"), *history, memory, now).shape
    (1, 0)
    """
    # An item counts where it was last: in the history before the memory, at its last place there.
    repeated = np.zeros(history_items.shape, np.bool_)
    for place in range(history_items.shape[1] - 1):
        repeated[:, place] = (history_items[:, place + 1 :] == history_items[:, place, None]).any(1)
    same = history_items[:, :, None] == memory.items[:, None, :]  # (n, L, K)
    newest = np.concatenate([~same.any(1), ~repeated], 1)  # (n, K + L)
    items = np.concatenate([memory.items, history_items], 1)
    newest &= items >= 0
    times = np.concatenate([memory.times, history_times], 1)
    disliked = (memory.flags & DISLIKED) != 0
    chosen = np.zeros(newest.shape, np.bool_)
    if disliked.any():  # rare, and costs as much as all the rest
        chosen = np.concatenate([disliked, (same & disliked[:, None, :]).any(2)], 1)
    if rule.rule == "seen":
        chosen[:] = True
    elif rule.rule == "recent":
        places = np.cumsum(newest[:, ::-1], 1)[:, ::-1]  # 1 is the newest
        chosen |= (places <= rule.items) | (times >= (now - rule.time_ms)[:, None])
    chosen &= newest
    counts = np.count_nonzero(chosen, 1)
    width = int(counts.max(initial=0))
    out = np.full((len(items), width), -1, np.int32)
    out[np.arange(width) >= width - counts[:, None]] = items[chosen]
    return out
