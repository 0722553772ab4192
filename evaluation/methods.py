"""Names of the compared methods, their half-lives and the columns of a run that hold their results."""

from __future__ import annotations

from collections.abc import Iterable

from hsnn.evaluation.errors import ProtocolError

BASELINES = ("popularity", "popularity_filter", "shuffled_index", "covisitation", "two_tower", "hnsw", "ivf")
"""All baselines. ``served`` and ``exhaustive``, the two methods of the served model itself, are always measured."""

DEFAULT_BASELINES = ("popularity", "popularity_filter", "shuffled_index")
"""Baselines that cost next to nothing."""

# Half-lives in hours, from six minutes to 100 days; the last one never decays. A grid this wide keeps the baseline
# strong: a badly chosen half-life makes popularity look weaker than it is.
POPULARITY_HALF_LIVES = (0.1, 0.25, 0.5, 1.0, 4.0, 24.0, 168.0, 720.0, 2400.0, float("inf"))

# Half-lives in hours of co-visitation counts; pairs are rarer than clicks, so the grid starts later.
COVISITATION_HALF_LIVES = (1.0, 12.0, 168.0, 2400.0)

HALF_LIVES = {
    "popularity": POPULARITY_HALF_LIVES,
    "popularity_filter": POPULARITY_HALF_LIVES,
    "covisitation": COVISITATION_HALF_LIVES,
}
"""Half-lives of the methods that have several; each of them is a column of its own."""

# The number of most-clicked items that count as popular; targets outside of them are rare.
POPULAR_ITEMS = 50

# The number of items of each answer that coverage and popularity share look at: about one screen.
TOP_K = 20

# Scoring budgets, in items, of the curves of recall against work.
CURVE_BUDGETS = (50, 100, 200, 500, 1000)

CANDIDATE_ORDERS = ("merge", "merge_traffic", "whole_nodes", "whole_nodes_dense")
"""Orders in which candidates could be scored, one curve each; see `hsnn.evaluation.harness.candidate_orders`."""


def columns(method: str) -> tuple[str, ...]:
    """List the columns of a method: one, or one per half-life.

    Examples
    --------
    >>> columns("hnsw"), columns("covisitation")[:2]
    (('hnsw',), ('covisitation:1.0', 'covisitation:12.0'))
    """
    return tuple(f"{method}:{hours}" for hours in HALF_LIVES[method]) if method in HALF_LIVES else (method,)


def parse_baselines(text: str) -> tuple[str, ...]:
    """Read ``all``, ``none`` or a comma-separated list of names.

    Examples
    --------
    >>> parse_baselines("none"), parse_baselines("ivf, popularity")
    ((), ('popularity', 'ivf'))

    Raises
    ------
    ProtocolError
        A name is not known.
    """
    if text in ("all", "none"):
        return BASELINES if text == "all" else ()
    return ordered_baselines(name.strip() for name in text.split(",") if name.strip())


def ordered_baselines(names: Iterable[str]) -> tuple[str, ...]:
    """Put `names` into the order of `BASELINES`; raises as `parse_baselines` does."""
    wanted = set(names)
    if unknown := sorted(wanted - set(BASELINES)):
        raise ProtocolError(f"no baseline is called {', '.join(unknown)}; there are: {', '.join(BASELINES)}")
    return tuple(name for name in BASELINES if name in wanted)
