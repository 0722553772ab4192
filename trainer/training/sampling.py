"""Sample what a step learns from: the batch's events, replayed ones, and the candidate items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.cross_features import MATCHES
from hsnn.trainer.features.pair_facts import CandidateLookup, PairFacts, pair_facts
from hsnn.trainer.features.sampling_frequency import NO_DRAW
from hsnn.trainer.modules.cross_inputs import cross_features
from hsnn.trainer.optim.step import ExcludedPairs, StepCandidates
from hsnn.trainer.training.prepared import PreparedBatch
from hsnn.trainer.training.replay_buffer import Examples
from hsnn.trainer.training.state import LearnerState


def sample_examples(state: LearnerState, prepared: PreparedBatch, rng: np.random.Generator) -> Examples:
    """Take the batch's events, past ones to learn again where the stream is slow, and the dislikes, in this order.

    The weight of a dislike is negative: an example against the item.
    """
    fresh = Examples(prepared.queries, prepared.items, prepared.example_weights)
    past = int(state.config.replay * len(fresh.items))
    wanted = past and state.slow and len(state.replay)
    examples = fresh.concatenated(state.replay.sample(past, rng)) if wanted else fresh
    against = prepared.dislikes
    if against is None:
        return examples
    return examples.concatenated(Examples(against.queries, against.items, -against.weights))


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
    liked = examples.items[examples.weights >= 0]
    log_q = state.frequency.log_q(rows, events=state.positives, batch=len(liked), uniform=uniform, items=items)
    if len(liked) < len(examples.items):  # what is here because of a dislike alone is no draw of the sample
        log_q[~(np.isin(rows, liked) | np.isin(rows, drawn))] = NO_DRAW
    features = state.states.features(rows, prepared.now)
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
        excluded=excluded_pairs(prepared.excluded, rows, targets),
        cross=cross,
        facts=facts_of_batch(state, prepared, rows) if state.config.model.pair_features else None,
    )


def excluded_pairs(
    excluded: NDArray[np.integer], candidates: NDArray[np.int64], targets: NDArray[np.int64]
) -> ExcludedPairs:
    """Find the pairs of the first n queries and U candidates that would not be served, their own targets apart.

    Examples
    --------
    >>> pairs = excluded_pairs(np.array([[-1, 4], [9, 7]]), np.array([4, 7]), np.array([1, 1]))
    >>> pairs.query.tolist(), pairs.candidate.tolist()
    ([0], [0])
    """
    found = CandidateLookup(candidates)(excluded)
    query, column = np.nonzero((found >= 0) & (found != targets[: len(excluded), None]))
    return ExcludedPairs(query, found[query, column].astype(np.int64))


def facts_of_batch(state: LearnerState, prepared: PreparedBatch, candidates: NDArray[np.int64]) -> PairFacts:
    """Look up the pair facts of a batch's events; of what is learned again the counts know the answer already."""
    return pair_facts(prepared.queries, prepared.memory, state.covisitation, states=state.states, candidates=candidates)
