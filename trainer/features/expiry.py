"""Item expiry: until when an item may be recommended. Trainer, scheduler and server share this rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEVER = int(np.iinfo(np.int64).max)
"""Expiry time of an item that never expires: the largest int64, above every watermark."""


def expiry_times(
    last: NDArray[np.int64], expires_at: NDArray[np.int64], deleted: NDArray[np.bool_], idle_ms: int | None
) -> NDArray[np.int64]:
    """Compute the earliest watermark at which each item expires: it is alive while that is above the watermark.

    Parameters
    ----------
    last : (n,) int64
        Last sign of life, epoch ms; 0 = none is known.
    expires_at : (n,) int64
        The item's own expiry time, epoch ms; 0 = none.
    deleted : (n,) bool
    idle_ms
        An item expires so many ms after its last sign of life; one without any counts as expired. None: no limit.

    Returns
    -------
    (n,) int64
        Epoch ms; 0 for deleted items, `NEVER` for those that never expire.

    Examples
    --------
    >>> last, ends, gone = np.array([100, 100, 100, 0]), np.array([0, 120, 0, 0]), np.array([False, False, True, False])
    >>> expiry_times(last, ends, gone, idle_ms=50).tolist()
    [150, 120, 0, 0]
    >>> (expiry_times(last, ends, gone, idle_ms=None) > 120).tolist()
    [True, False, False, True]
    """
    end = np.where(expires_at > 0, expires_at, NEVER)
    if idle_ms is not None:
        end = np.minimum(end, np.where(last > 0, last + idle_ms, 0))
    return np.where(deleted, 0, end)
