"""ReplayBuffer: the last events, drawn again; nothing is left of a user who was deleted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.training.replay_buffer import Examples, ReplayBuffer

CONFIG = ModelConfig(history=2, user_tokens=1, context_tokens=1)


def examples_of(items: list[int]) -> Examples:
    n = len(items)
    own = np.array(items, np.int64)
    history = np.stack([own, own], 1).astype(np.int32)
    tokens = own[:, None].astype(np.int32)
    queries = QueryArrays(history, history.astype(np.int64), tokens, tokens, own)
    return Examples(queries, own, np.ones(n, np.float32))


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(1, 12))
def test_the_last_events_are_there_and_no_others(sizes, size):
    replay, told = ReplayBuffer(CONFIG, size), 0
    for count in sizes:
        replay.append(examples_of(list(range(told, told + count))), np.zeros(count, np.int64))
        told += count
    assert len(replay) == min(told, size)
    if told:
        drawn = replay.sample(400, np.random.default_rng(0))
        assert set(drawn.items.tolist()) == set(range(max(told - size, 0), told))
        assert np.array_equal(drawn.queries.history_items[:, 0], drawn.items)
        assert np.array_equal(drawn.queries.now, drawn.items)


def test_a_user_who_is_deleted_leaves_nothing_behind():
    replay = ReplayBuffer(CONFIG, 4)
    replay.append(examples_of([1, 2, 3]), np.array([7, 8, 7]))
    replay.forget_users(np.array([7]))
    drawn = replay.sample(50, np.random.default_rng(0))
    theirs = drawn.items != 2
    assert theirs.any()
    assert (drawn.weights[theirs] == 0).all()
    assert (drawn.queries.history_items[theirs] == -1).all()
    assert (drawn.queries.user_tokens[theirs] == -1).all()
    assert (drawn.weights[~theirs] == 1).all()
