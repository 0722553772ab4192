"""What a step learns from: the batch's events, past ones beside them, and the items they are told apart from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hsnn.trainer.features.cross_features import MATCHES, cross_features
from hsnn.trainer.optim.step import Candidates
from hsnn.trainer.training.prepared import Prepared
from hsnn.trainer.training.replay_buffer import Lessons

if TYPE_CHECKING:
    from hsnn.trainer.training.learner import Learner


def lessons_of(learner: Learner, prepared: Prepared, rng: np.random.Generator) -> Lessons:
    """Take the batch's events, and past ones to learn again where the stream is slow."""
    fresh = Lessons(prepared.queries, prepared.items, prepared.weights)
    past = int(learner.config.replay * len(fresh.items))
    wanted = past and learner.slow and len(learner.replay)
    return fresh.joined(learner.replay.draw(past, rng)) if wanted else fresh


def candidates_of(learner: Learner, prepared: Prepared, lessons: Lessons, rng: np.random.Generator) -> Candidates:
    """Take the distinct items of the lessons, and uniform draws out of the living ones."""
    items, uniform = len(learner.items), learner.config.uniform_negatives
    drawn = np.unique(rng.integers(items, size=uniform))
    dead = ~learner.alive(drawn)
    for row in drawn[dead]:
        learner.leaves.remove(int(row))
    drawn = drawn[~dead]
    rows = np.union1d(lessons.items, drawn)
    log_q = learner.frequency.log_q(rows, learner.positives, len(lessons.items), uniform, items)
    features = learner.states.features(rows, int(prepared.ts.max()))
    targets = np.searchsorted(rows, lessons.items)
    cross = None
    if learner.config.model.cross:
        cross = cross_features(lessons.queries, learner.items.tokens, rows, learner.covisitation)
        cross[len(prepared.items) :, :, MATCHES:] = 0  # what is learned again was counted already
    return Candidates(rows, learner.items.tokens, features, log_q, targets, np.searchsorted(rows, drawn), cross)
