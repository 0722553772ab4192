"""Quality of predicted probabilities: normalised entropy and calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.errors import ProtocolError

# Probabilities are clipped to this distance from 0 and 1, so that a certain but wrong prediction has a finite loss.
_CLIP = 1e-12


def normalised_entropy(predicted: NDArray[np.floating], engaged: NDArray[np.floating]) -> float:
    """Log loss of probabilities (n,) on outcomes 0 or 1 (n,), divided by that of their mean rate; below 1 is better.

    He et al., *Practical lessons from predicting clicks on ads at Facebook*, 2014. NaN of outcomes that are all alike.

    Examples
    --------
    >>> normalised_entropy(np.array([0.25, 0.25, 0.25, 0.25]), np.array([1, 0, 0, 0]))
    1.0
    >>> normalised_entropy(np.array([0.7, 0.1, 0.1, 0.1]), np.array([1, 0, 0, 0])) < 0.4
    True

    Raises
    ------
    ProtocolError
        The two differ in length, or a prediction is not a probability.
    """
    p, y = _checked(predicted, engaged)
    rate = y.mean() if len(y) else 0.0
    if rate in (0.0, 1.0):
        return float("nan")
    return float(_entropy(p, y) / _entropy(np.full_like(p, rate), y))


def calibration(predicted: NDArray[np.floating], engaged: NDArray[np.floating]) -> float:
    """Sum of predicted probabilities (n,) over the number of engagements among outcomes (n,); 1 is right.

    NaN without an engagement; raises as `normalised_entropy` does.

    Examples
    --------
    >>> calibration(np.array([0.5, 0.5, 0.5, 0.5]), np.array([1, 0, 0, 0]))
    2.0
    """
    p, y = _checked(predicted, engaged)
    return float(p.sum() / y.sum()) if y.sum() else float("nan")


def _entropy(p: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    p = np.clip(p, _CLIP, 1 - _CLIP)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def _checked(
    predicted: NDArray[np.floating], engaged: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, y = np.asarray(predicted, np.float64), np.asarray(engaged, np.float64)
    if p.shape != y.shape:
        raise ProtocolError(f"{p.shape} predictions do not belong to {y.shape} outcomes")
    if len(p) and not ((p >= 0) & (p <= 1)).all():
        raise ProtocolError("predictions must be probabilities between 0 and 1")
    return p, y
