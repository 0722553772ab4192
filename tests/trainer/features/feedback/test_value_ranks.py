from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.features.feedback.value_ranks import ValueRanks


def ranked(ranks: ValueRanks, values: list[float], action: int = 0) -> np.ndarray:
    return ranks.update(np.full(len(values), action), np.array(values, np.float32))


def test_a_rank_is_the_share_below_and_1_for_the_highest():
    assert ranked(ValueRanks(("rate",)), [1, 2, 2, 3]).tolist() == [0, 0.25, 0.25, 1]
    assert ranked(ValueRanks(("rate",)), [4, 4, 4]).tolist() == [1, 1, 1]


def test_scales_do_not_matter_and_actions_are_ranked_apart():
    ranks = ValueRanks(("rate", "score"))
    stars, points = ranked(ranks, [1, 3, 5]), ranked(ranks, [10, 500, 900], action=1)
    assert stars.tolist() == points.tolist()


def test_only_the_last_values_count():
    ranks = ValueRanks(("rate",))
    ranked(ranks, [5.0] * 2000)
    assert ranked(ranks, [1.0] * 1024)[-1] == 0
    assert ranked(ranks, [3.0])[0] == 1  # the fives are forgotten


def test_a_restored_one_goes_on_and_other_actions_begin_anew():
    ranks, other = ValueRanks(("rate",)), ValueRanks(("score", "rate"))
    ranked(ranks, [1, 2, 3])
    other.load_state_dict(ranks.state_dict())
    assert ranked(other, [2.5], action=1).tolist() == ranked(ranks, [2.5]).tolist()
    assert ranked(other, [2.5], action=0).tolist() == [1]


@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.floats(width=32)), max_size=40))
def test_ranks_lie_between_0_and_1_whatever_comes(events):
    actions, values = np.array([a for a, _ in events], np.int64), np.array([v for _, v in events], np.float32)
    found = ValueRanks(("a", "b")).update(actions, values)
    known = (actions >= 0) & np.isfinite(values)
    assert (np.isnan(found) == ~known).all()
    assert ((found[known] >= 0) & (found[known] <= 1)).all()
