"""Periodic maintenance: seeding, refitting and reviving the index's nodes, and following the best half-life."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.index.background_fit import GATHERED_AT_ONCE
from hsnn.trainer.index.maintenance import MaintenanceKind, refit_interval
from hsnn.trainer.training.item_passes import SLICE
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
    fitted = state.network.advance_fit(state.items.tokens, state.steps)
    if fitted is not None:
        _nodes_moved(state, fitted)
    kinds = due(state)
    if kinds:
        living = living_rows(state)
        if len(living):
            maintain_nodes(state, kinds, living, rng)
    assign_slice(state)
    doubled = state.config.index.early and state.steps & (state.steps - 1) == 0
    best = state.half_lives.best
    if (doubled or state.steps % _EVERY == 0) and best != state.half_life and state.passes.half_life is None:
        state.passes.begin_weighing(best)
    if state.passes.assigned is None:
        weigh_slice(state)


def maintain_nodes(
    state: LearnerState, kinds: list[MaintenanceKind], living: NDArray[np.int64], rng: np.random.Generator
) -> None:
    """Do or begin some kinds of maintenance in order; `living` (n,) are the rows of items that are alive."""
    for kind in kinds:
        sample = subsample(living, FIT_SAMPLE if kind in _FITS else _SAMPLE, rng)
        if kind in _FITS and len(sample) > GATHERED_AT_ONCE:
            state.network.begin_fit(sample, kind, state.steps)
            state.network.advance_fit(state.items.tokens, state.steps)
        else:
            state.network.maintain_index(sample, state.items.tokens, kind, rng)
            _nodes_moved(state, kind)


def _nodes_moved(state: LearnerState, kind: MaintenanceKind) -> None:
    """Take note that nodes were changed by some kind of maintenance."""
    if kind == MaintenanceKind.SEED:
        state.network.seeded_at = state.events
    # Fitted or snapped nodes hold other items, so all items are assigned anew.
    if kind in (*_FITS, MaintenanceKind.SNAP):
        state.passes.assigned = 0


def assign_slice(state: LearnerState) -> None:
    """Assign the next rows of the pass that assigns all living items to the nodes, if there is one."""
    passes, items = state.passes, len(state.items)
    if passes.assigned is None:
        return
    rows = np.arange(passes.assigned, min(passes.assigned + SLICE, items))
    passes.assigned = None if passes.assigned + SLICE >= items else passes.assigned + SLICE
    rows = rows[state.alive(rows)]
    if len(rows):
        state.leaves.assign_rows(rows, state.network.assign(rows, state.items.tokens))


def weigh_slice(state: LearnerState) -> None:
    """Compute the priors of the next rows at a new half-life, if one is to be followed; it is once all are computed."""
    passes, items = state.passes, len(state.items)
    if passes.half_life is None:
        return
    rows = np.arange(passes.weighed, min(passes.weighed + SLICE, items))
    passes.add_priors(state.item_prior(rows, passes.half_life))
    if passes.weighed >= items:
        state.half_life, log_mass = passes.finish_weighing()
        state.update_popularity()
        log_mass[state.states.last[: len(log_mass)] == 0] = -np.inf  # rows that were emptied meanwhile
        state.leaves.set_log_mass(np.arange(len(log_mass)), log_mass)


def living_rows(state: LearnerState) -> NDArray[np.int64]:
    """Return the rows (n,) of the items that are alive now."""
    return np.flatnonzero(state.alive(slice(0, len(state.items))))


def subsample(rows: NDArray[np.int64], limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `limit` of some rows (n,), in order."""
    return rows if len(rows) <= limit else np.sort(rng.choice(rows, limit, replace=False))


def due(state: LearnerState) -> list[MaintenanceKind]:
    """List the maintenance that is due before the next step."""
    index, learner = state.config.index, state.network.objective.learner
    if not state.network.seeded:
        return [MaintenanceKind.SEED] if state.events >= index.seed_after and state.network.fit is None else []
    kinds = []
    refits = learner.refits_periodically and state.network.fit is None
    if refits and state.passed(refit_interval(index.kmeans_every, len(state.leaves))):
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
