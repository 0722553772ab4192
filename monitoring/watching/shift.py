"""A shift in a series: where it began, how large it is, and whether it is unusual for this series."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Standard deviation of a normal distribution over its median absolute deviation.
_MAD_TO_SIGMA = 1.4826

# Values before a shift, at least: fewer do not tell what is usual.
LEAST_BEFORE = 16

# A shift must exceed the largest one between neighbouring stretches before it by this factor: a series that wanders
# has shifted as far already, and nobody was to be woken.
_OVER_USUAL = 1.5


class Shift(NamedTuple):
    """A shift at `start` of a series: medians before and after it, and the spread of the values before."""

    start: int
    before: float
    after: float
    spread: float


def spread_of(values: NDArray[np.float64], floor: float) -> float:
    """Compute the robust standard deviation of values (n,), at least `floor`.

    Examples
    --------
    >>> spread_of(np.array([1.0, 2.0, 3.0]), 0.1), spread_of(np.array([1.0, 1.0]), 0.1)
    (1.4826, 0.1)
    """
    return max(_MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values)))), floor)


def change_point(values: NDArray[np.float64], least_after: int) -> int:
    """Return the most likely index of a change of the mean of values (n,): where their cumulative deviation peaks.

    Examples
    --------
    >>> change_point(np.r_[np.zeros(30), np.ones(10)], least_after=3)
    30
    """
    count = len(values)
    index = np.arange(LEAST_BEFORE, count - least_after + 1)
    total = values.cumsum()
    deviation = np.abs(total[index - 1] - index * total[-1] / count)
    return int(index[np.argmax(deviation / np.sqrt(index * (count - index)))])


def find_shift(
    values: NDArray[np.float64], *, floor: float, effect: float, persistence: int, sign: int, slow: bool = False
) -> Shift | None:
    """Find a shift of values (n,) that lasts to their end and is large for this series; None where there is none.

    Parameters
    ----------
    floor
        Smallest spread.
    effect
        Spreads that the median must have moved by; the last values must all lie beyond half of that.
    persistence
        Values after the shift, at least.
    sign
        1: upwards only, -1: downwards only, 0: both.
    slow
        Whether a shift that has lasted for longer may be smaller: `effect` is then `needed_effect`.

    Examples
    --------
    >>> values = np.r_[np.arange(60) % 3, 20 + np.arange(4) % 3].astype(np.float64)
    >>> find_shift(values, floor=0.1, effect=6.0, persistence=3, sign=1)
    Shift(start=60, before=1.0, after=20.5, spread=1.4826)
    >>> find_shift(values, floor=0.1, effect=6.0, persistence=3, sign=-1) is None
    True
    """
    if len(values) < LEAST_BEFORE + persistence:
        return None
    index = change_point(values, persistence)
    before, after = values[:index], values[index:]
    shift = Shift(index, float(np.median(before)), float(np.median(after)), spread_of(before, floor))
    needed = shift.spread * (needed_effect(effect, persistence, len(after)) if slow else effect)
    moved = shift.after - shift.before
    if (sign and moved * sign <= 0) or abs(moved) < needed:
        return None
    beyond = np.sign(moved) * (after[-persistence:] - shift.before)
    if beyond.min() < needed / 2 or abs(moved) < _OVER_USUAL * _usual_shift(before, len(after)):
        return None
    return shift


def needed_effect(effect: float, persistence: int, length: int) -> float:
    """Return the spreads that a shift must move the median by when it has lasted for `length` values.

    The error of a median shrinks with the root of the values; never below half of `effect`, since chance is not what
    matters for a long shift.

    Examples
    --------
    >>> needed_effect(6.0, 3, 3), needed_effect(6.0, 3, 100)
    (6.0, 3.0)
    """
    return max(effect * math.sqrt(persistence / length), effect / 2)


def _usual_shift(values: NDArray[np.float64], length: int) -> float:
    """Return the largest shift of the median between neighbouring stretches of values (n,)."""
    length = min(length, len(values) // 4)
    stretches = values[len(values) % length :].reshape(-1, length)
    return float(np.abs(np.diff(np.median(stretches, axis=1))).max(initial=0.0))
