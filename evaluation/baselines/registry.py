"""Names of what the served path is compared with."""

from __future__ import annotations

from collections.abc import Iterable

from hsnn.evaluation.errors import ProtocolError

BASELINES = ("popularity", "popularity_filter", "shuffled_index", "covisitation", "two_tower", "hnsw", "ivf")
"""All of them; the exhaustive search by the served model is always there."""
DEFAULT_BASELINES = ("popularity", "popularity_filter", "shuffled_index")
"""Those that cost next to nothing."""


def parse_baselines(text: str) -> tuple[str, ...]:
    """Read ``all``, ``none`` or a list of names with commas.

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
    """Put `names` into the order of `BASELINES`; raises as `chosen` does."""
    wanted = set(names)
    if unknown := sorted(wanted - set(BASELINES)):
        raise ProtocolError(f"no baseline is called {', '.join(unknown)}; there are: {', '.join(BASELINES)}")
    return tuple(name for name in BASELINES if name in wanted)
