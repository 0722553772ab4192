"""How exactly a number of queries measures a share of them."""

from __future__ import annotations

import math

# Half width of a 95% interval, in standard errors.
_NORMAL_95 = 1.96

# Share up to which an interval is narrow enough to tell methods apart: those of the benchmarks differ by a few points.
_ENOUGH = 0.02


def precision_warning(queries: int) -> str | None:
    """Say that a run had too few queries to judge methods by; None if it had enough.

    Examples
    --------
    >>> precision_warning(500)
    'Too few queries to judge: with 500 a recall is known to +-4.4 points (95%); use more events'
    >>> precision_warning(3000)
    """
    if queries < 1:
        return "No query was answered: nothing can be judged; use more events"
    half_width = _NORMAL_95 * math.sqrt(0.25 / queries)  # of a share of one half, the widest
    if half_width <= _ENOUGH:
        return None
    return (
        f"Too few queries to judge: with {queries:,} a recall is known to +-{100 * half_width:.1f} points (95%); "
        "use more events"
    )
