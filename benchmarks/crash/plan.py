"""Plan of the kills: every failpoint equally often, in random order, spread over the run, drawn by a seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hsnn.monitoring.process.failpoints import FAILPOINTS

ANYWHERE = "anywhere"
"""From outside, at a random time after the process was started: while it loads, too."""

KINDS = (*FAILPOINTS, ANYWHERE)
_FREQUENT = {"write": 9, "fsync": 9}
"""They are called more often per checkpoint, so a later occurrence is drawn: one of the first two checkpoints."""
# the occurrence of a failpoint at which the kill comes is drawn from 1 to this
_MAX_OCCURRENCE = 3


class PlannedKill(NamedTuple):
    """One SIGKILL.

    Attributes
    ----------
    phase
        Of `hsnn.monitoring.process.failpoints`, or `ANYWHERE`.
    after
        Events the run must have learned before, with at least one step in this incarnation; `ANYWHERE` does not wait
        for them. From there on the trainer is slowed down.
    nth
        Which occurrence of the phase it is from then on.
    seconds
        After the start of the process, for `ANYWHERE`.
    kept_share
        Share of a half-written file that is left of it, for ``write``; 1 leaves it as it is.
    """

    phase: str
    after: int
    nth: int
    seconds: float
    kept_share: float


def plan(kills: int, events: int, batch: int, seed: int) -> list[PlannedKill]:
    """Draw `kills` kills over a run of `events`, in the order in which they happen.

    Every kind comes up equally often (one more for some, if it does not go up). Events are left at the end, so that
    the last kill still finds its phase.

    Examples
    --------
    >>> from collections import Counter
    >>> kills = plan(200, 200_000, 256, seed=0)
    >>> set(Counter(kill.phase for kill in kills).values()), kills == plan(200, 200_000, 256, seed=0)
    ({25}, True)
    >>> [kill.after for kill in kills] == sorted(kill.after for kill in kills)
    True
    """
    rng = np.random.default_rng(seed)
    phases = rng.permutation(np.resize(rng.permutation(KINDS), kills)).tolist()
    last = max(0, events - 24 * batch)
    places = np.sort(rng.integers(0, last + 1, kills)).tolist()
    return [_kill(phase, after, rng) for phase, after in zip(phases, places, strict=True)]


def min_hits(kills: int) -> int:
    """How often each phase must be hit, of `kills`: 10 of 200."""
    return min(10, kills // len(KINDS))


def _kill(phase: str, after: int, rng: np.random.Generator) -> PlannedKill:
    nth = int(rng.integers(1, _FREQUENT.get(phase, _MAX_OCCURRENCE) + 1))
    torn = phase == "write" and rng.random() < 0.5
    return PlannedKill(
        phase, after=after, nth=nth, seconds=float(rng.uniform(0, 1.5)), kept_share=float(rng.random()) if torn else 1.0
    )
