"""Sample what a step learns from: the batch's events, replayed ones, and the candidate items."""

from __future__ import annotations

import numpy as np

from hsnn.trainer.features.cross_features import MATCHES, cross_features
from hsnn.trainer.optim.step import StepCandidates
from hsnn.trainer.training.prepared import PreparedBatch
from hsnn.trainer.training.replay_buffer import Examples
from hsnn.trainer.training.state import LearnerState


def sample_examples(state: LearnerState, prepared: PreparedBatch, rng: np.random.Generator) -> Examples:
    """Take the batch's events, and past ones to learn again where the stream is slow."""
    fresh = Examples(prepared.queries, prepared.items, prepared.weights)
    past = int(state.config.replay * len(fresh.items))
    wanted = past and state.slow and len(state.replay)
    return fresh.concatenated(state.replay.sample(past, rng)) if wanted else fresh


def sample_candidates(
    state: LearnerState, prepared: PreparedBatch, examples: Examples, rng: np.random.Generator
) -> StepCandidates:
    """Take the distinct items of the examples, and uniform draws out of the items that are alive."""
    items, uniform = len(state.items), state.config.uniform_negatives
    drawn = np.unique(rng.integers(items, size=uniform))
    dead = ~state.alive(drawn)
    state.leaves.remove_rows(drawn[dead])  # expiry is noticed by chance: a scan of all items would cost too much
    drawn = drawn[~dead]
    rows = np.union1d(examples.items, drawn)
    log_q = state.frequency.log_q(rows, events=state.positives, batch=len(examples.items), uniform=uniform, items=items)
    features = state.states.features(rows, int(prepared.ts.max()))
    targets = np.searchsorted(rows, examples.items)
    cross = None
    if state.config.model.cross:
        cross = cross_features(examples.queries, state.items.tokens, rows, state.covisitation)
        cross[len(prepared.items) :, :, MATCHES:] = 0  # what is learned again was counted already
    return StepCandidates(
        rows=rows,
        tokens=state.items.tokens,
        states=features,
        log_q=log_q,
        targets=targets,
        uniform=np.searchsorted(rows, drawn),
        cross=cross,
    )
