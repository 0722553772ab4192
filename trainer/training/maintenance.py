"""Periodic maintenance: seeding, refitting and reviving the index's nodes, and following the best half-life."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.index.maintenance import MaintenanceKind, refit_interval
from hsnn.trainer.training.state import LearnerState

# Steps between two checks of the nodes and the half-lives: both change slowly, and a check costs about a step.
_EVERY = 64
# Items sampled, at most, for the maintenance of nodes other than a fit: some per node are enough.
_SAMPLE = 4096
FIT_SAMPLE = 65_536
"""Items sampled, at most, when nodes are fitted anew: k-means gains nothing from more."""

_FITS = (MaintenanceKind.SEED, MaintenanceKind.REFIT)
"""Kinds of maintenance that run k-means."""


def run_maintenance(state: LearnerState, rng: np.random.Generator) -> None:
    """Do the maintenance that is due before a step, and follow the best half-life.

    With `trainer.index.early` the half-life is checked whenever the number of steps has doubled, too.
    """
    kinds = due(state)
    if kinds:
        living = living_rows(state)
        if len(living):
            maintain_nodes(state, kinds, living, rng)
    doubled = state.config.index.early and state.steps & (state.steps - 1) == 0
    if (doubled or state.steps % _EVERY == 0) and state.half_lives.best != state.half_life:
        state.half_life = state.half_lives.best
        state.update_item_prior(np.arange(len(state.items)))


def maintain_nodes(
    state: LearnerState, kinds: list[MaintenanceKind], living: NDArray[np.int64], rng: np.random.Generator
) -> None:
    """Do some kinds of maintenance in order; `living` (n,) are the rows of items that are alive."""
    for kind in kinds:
        sample = subsample(living, FIT_SAMPLE if kind in _FITS else _SAMPLE, rng)
        state.network.maintain_index(sample, state.items.tokens, kind, rng)
    if MaintenanceKind.SEED in kinds:
        state.network.seeded_at = state.events
    # Fitted or snapped nodes hold other items, so all items are assigned anew. `due` lists these kinds first.
    if kinds[0] in (*_FITS, MaintenanceKind.SNAP):
        state.leaves.assign_rows(living, state.network.assign(living, state.items.tokens))


def living_rows(state: LearnerState) -> NDArray[np.int64]:
    """Return the rows (n,) of the items that are alive now."""
    return np.flatnonzero(state.alive(np.arange(len(state.items))))


def subsample(rows: NDArray[np.int64], limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `limit` of some rows (n,), in order."""
    return rows if len(rows) <= limit else np.sort(rng.choice(rows, limit, replace=False))


def due(state: LearnerState) -> list[MaintenanceKind]:
    """List the maintenance that is due before the next step."""
    index, learner = state.config.index, state.network.objective.learner
    if not state.network.seeded:
        return [MaintenanceKind.SEED] if state.events >= index.seed_after else []
    kinds = []
    if learner.refits_periodically and state.passed(refit_interval(index.kmeans_every, len(state.leaves))):
        kinds.append(MaintenanceKind.REFIT)
    if index.snap_every and state.passed(index.snap_every):
        kinds.append(MaintenanceKind.SNAP)
    if state.steps % _EVERY == 0:
        # Nodes that k-means alone moves (SIL) stay where it puts them.
        if index.revive and (learner.task_loss_moves_nodes or not learner.refits_periodically):
            kinds.append(MaintenanceKind.REVIVE)
        if index.representatives:
            kinds.append(MaintenanceKind.REPRESENT)
    return kinds
