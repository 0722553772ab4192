"""What a learner does now and then: it takes the nodes from items, looks after them, follows the best half-life."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.index.maintenance import refit_interval

if TYPE_CHECKING:
    from hsnn.trainer.training.learner import Learner

_EVERY = 64
"""Steps between two looks at the nodes and the half-lives."""
_SAMPLE, FIT_SAMPLE = 4096, 65_536
"""Living items looked at in the upkeep of nodes, and in making them, at most."""


def do_chores(learner: Learner, rng: np.random.Generator) -> None:
    """Do what is due before a step.

    With `trainer.index.early` the half-life is looked at whenever the number of steps has doubled, too.
    """
    work = due(learner)
    if work:
        living = living_rows(learner)
        if len(living):
            look_after(learner, work, living, rng)
    doubled = learner.config.index.early and learner.steps & (learner.steps - 1) == 0
    if (doubled or learner.steps % _EVERY == 0) and learner.half_lives.best != learner.half_life:
        learner.half_life = learner.half_lives.best
        learner.weigh(np.arange(len(learner.items)))


def look_after(learner: Learner, work: list[str], living: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Do `work`, named as in `hsnn.trainer.index.maintenance`; `living` (n,) are the rows of living items."""
    for one in work:
        sample = sampled(living, FIT_SAMPLE if one in ("start", "refit") else _SAMPLE, rng)
        learner.network.upkeep(sample, learner.items.tokens, one, rng)
    if "start" in work:
        learner.network.seeded_at = learner.events
    if work[0] in ("start", "refit", "snap"):
        learner.leaves.move(living, learner.network.assign(living, learner.items.tokens))


def living_rows(learner: Learner) -> NDArray[np.int64]:
    """Rows (n,) of the items that are alive now."""
    return np.flatnonzero(learner.alive(np.arange(len(learner.items))))


def sampled(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most so many of some rows (n,), in order."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def due(learner: Learner) -> list[str]:
    """Name what is due of `hsnn.trainer.index.maintenance`."""
    index, kind = learner.config.index, learner.network.objective.learner
    if not learner.network.seeded:
        return ["start"] if learner.events >= index.seed_after else []
    work = []
    if kind.periodic and learner.passed(refit_interval(index.kmeans_every, len(learner.leaves))):
        work.append("refit")
    if index.snap_every and learner.passed(index.snap_every):
        work.append("snap")
    if learner.steps % _EVERY == 0:
        work += ["revive"] if index.revive and (kind.task_moves_nodes or not kind.periodic) else []
        work += ["represent"] if index.representatives else []
    return work
