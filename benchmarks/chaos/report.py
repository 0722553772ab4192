"""The table: what was done, how often, what an operator sees of it and when, and when it was over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.chaos.campaign import Outcome

_HEAD = (
    "| disruption | times | what an operator sees | seen within p50 / max s | recovered within p50 / max s | by hand? |"
)


def family(kind: str) -> str:
    """Name the row of a kind: without the size of a clock's shift, the right that is taken, the sort of poison.

    Examples
    --------
    >>> family("clock of redis -2 days"), family("Redis: the right xadd is taken"), family("redis hangs")
    ('clock of redis', 'Redis: a right is taken', 'redis hangs')
    """
    if kind.startswith("Redis: the right"):
        return "Redis: a right is taken"
    return re.split(r" [+-]\d|: ", kind)[0]


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Summarise by family, in alphabetical order."""
    found = []
    for kind in sorted({family(outcome.kind) for outcome in outcomes}):
        mine = [outcome for outcome in outcomes if family(outcome.kind) == kind]
        signs = Counter(outcome.sign for outcome in mine if outcome.sign)
        found.append(
            {
                "disruption": kind,
                "times": len(mine),
                "signs": dict(signs.most_common()),
                "seen": _quantiles([outcome.seen for outcome in mine]),
                "recovered": _quantiles([outcome.recovered for outcome in mine]),
                "by_hand": mine[0].hand,
            }
        )
    return found


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table of a page."""
    lines = [_HEAD, "|---|---|---|---|---|---|"]
    for row in table:
        signs = "; ".join(row["signs"]) or "-"
        cells = (row["disruption"], row["times"], signs, _text(row["seen"]), _text(row["recovered"]), row["by_hand"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _quantiles(seconds: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in seconds if value is not None]
    if not known:
        return None
    return {"p50": round(float(np.median(known)), 1), "max": round(max(known), 1)}


def _text(quantiles: dict[str, float] | None) -> str:
    return "-" if quantiles is None else f"{quantiles['p50']} / {quantiles['max']}"
