"""Periodic maintenance: seeding, refitting and reviving the index's nodes, and following the best half-life."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.index.maintenance import refit_interval
from hsnn.trainer.training.state import LearnerState

_EVERY = 64
"""Steps between two looks at the nodes and the half-lives: both change slowly, and a look costs about a step."""
_SAMPLE = 4096
"""Items looked at, at most, in the maintenance of nodes: some per node are enough."""
FIT_SAMPLE = 65_536
"""Items looked at, at most, when nodes are fitted anew: k-means gains nothing from more."""


def run_maintenance(state: LearnerState, rng: np.random.Generator) -> None:
    """Do what is due before a step.

    With `trainer.index.early` the half-life is looked at whenever the number of steps has doubled, too.
    """
    work = due(state)
    if work:
        living = living_rows(state)
        if len(living):
            maintain_nodes(state, work, living, rng)
    doubled = state.config.index.early and state.steps & (state.steps - 1) == 0
    if (doubled or state.steps % _EVERY == 0) and state.half_lives.best != state.half_life:
        state.half_life = state.half_lives.best
        state.update_item_prior(np.arange(len(state.items)))


def maintain_nodes(state: LearnerState, work: list[str], living: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Do `work`, named as in `hsnn.trainer.index.maintenance`; `living` (n,) are the rows of items that are alive."""
    for kind in work:
        sample = subsample(living, FIT_SAMPLE if kind in ("start", "refit") else _SAMPLE, rng)
        state.network.maintain_index(sample, state.items.tokens, kind, rng)
    if "start" in work:
        state.network.seeded_at = state.events
    if work[0] in ("start", "refit", "snap"):
        state.leaves.assign_rows(living, state.network.assign(living, state.items.tokens))


def living_rows(state: LearnerState) -> NDArray[np.int64]:
    """Return the rows (n,) of the items that are alive now."""
    return np.flatnonzero(state.alive(np.arange(len(state.items))))


def subsample(rows: NDArray[np.int64], limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `limit` of some rows (n,), in order."""
    return rows if len(rows) <= limit else np.sort(rng.choice(rows, limit, replace=False))


def due(state: LearnerState) -> list[str]:
    """Name what is due of `hsnn.trainer.index.maintenance`."""
    index, learner = state.config.index, state.network.objective.learner
    if not state.network.seeded:
        return ["start"] if state.events >= index.seed_after else []
    work = []
    if learner.refits_periodically and state.passed(refit_interval(index.kmeans_every, len(state.leaves))):
        work.append("refit")
    if index.snap_every and state.passed(index.snap_every):
        work.append("snap")
    if state.steps % _EVERY == 0:
        work += (
            ["revive"] if index.revive and (learner.task_loss_moves_nodes or not learner.refits_periodically) else []
        )
        work += ["represent"] if index.representatives else []
    return work
