"""Which targets of a step other sources than the index name."""

from __future__ import annotations

import numpy as np

from hsnn.monitoring.observation import MEMORY_NAMES, NEIGHBOURS_NAME
from hsnn.trainer.features.pair_facts import OWN_FEATURES, PairFacts
from hsnn.trainer.optim.step import ExcludedPairs, StepCandidates

NONE = np.zeros(0, np.int64)


def candidates(facts: PairFacts | None) -> StepCandidates:
    """Four events whose items are the candidates 2, 0, 1 and 1."""
    return StepCandidates(
        rows=np.array([10, 11, 12]),
        tokens=np.zeros((13, 1), np.int32),
        states=np.zeros((3, 1), np.float32),
        log_q=np.zeros(3, np.float32),
        targets=np.array([2, 0, 1, 1]),
        uniform=NONE,
        excluded=ExcludedPairs(NONE, NONE),
        facts=facts,
    )


def test_a_target_is_named_by_neighbours_or_by_the_users_past():
    facts = PairFacts(
        query=np.array([0, 1, 1]),
        candidate=np.array([2, 1, 2]),  # the second event's own item is 0
        lift=np.zeros((3, 2), np.float32),
        own_query=np.array([2, 3]),
        own_candidate=np.array([1, 0]),
        own=np.zeros((2, OWN_FEATURES), np.float32),
    )
    assert candidates(facts).target_sources().tolist() == [NEIGHBOURS_NAME, 0, MEMORY_NAMES, 0]


def test_without_facts_none_is_named():
    assert not candidates(None).target_sources().any()


def test_a_target_may_have_two_sources():
    facts = PairFacts(
        query=np.array([3]),
        candidate=np.array([1]),
        lift=np.zeros((1, 2), np.float32),
        own_query=np.array([3]),
        own_candidate=np.array([1]),
        own=np.zeros((1, OWN_FEATURES), np.float32),
    )
    assert candidates(facts).target_sources().tolist() == [0, 0, 0, NEIGHBOURS_NAME + MEMORY_NAMES]
