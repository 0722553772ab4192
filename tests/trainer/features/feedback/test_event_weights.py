from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.streaming.schema.batch import Engagements
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.features.feedback.event_weights import EventWeights, Feedback
from hsnn.trainer.features.item_counters import ItemCounters

NOW = 1_700_000_000_000


def read(feedback: Feedback, users, items, actions="click", values=np.nan, ts=NOW) -> EventWeights:
    users, items, actions, values, ts = np.broadcast_arrays(users, items, actions, np.float32(values), ts)
    texts = [f"u{user}" for user in users.tolist()]
    events = Engagements(
        ts.astype(np.int64), ts, texts, items.astype(str).tolist(), actions.tolist(), values, [None] * len(texts)
    )
    return feedback.read(events, users.astype(np.int64), items.astype(np.int64))


@pytest.fixture
def feedback():
    return Feedback(TrainerConfig())


@pytest.mark.parametrize("row", [3, -1])
def test_one_user_adds_less_than_two_to_an_item_however_often(feedback, row):
    """Also a user without a row, whose id tells that it is the same one."""
    weighed = read(feedback, np.full(1500, row), 7, ts=NOW + 10 * np.arange(1500))
    assert 1 < weighed.counted.sum() < 2
    assert weighed.weights[:3].tolist() == pytest.approx([1, 1 / 2, 1 / 3])  # of a step of weight 1,500
    assert weighed.undamped.sum() == 1500
    assert read(feedback, np.full(1, row), 7, ts=NOW + 15_000).weights[0] < 1


def test_a_habit_is_learned_in_full(feedback):
    learned = [read(feedback, [1], [7], ts=NOW + 60_000 * n).weights[0] for n in range(32)]
    assert learned[:16] == [1.0] * 16
    assert learned[-1] == pytest.approx(16 / 32, abs=0.01)


def test_many_users_count_each_in_full(feedback):
    assert read(feedback, np.arange(50), 7).counted.tolist() == [1.0] * 50


def test_what_is_rated_low_weighs_little_in_loss_and_counters(feedback):
    stars = np.tile([1.0, 2.0, 3.0, 4.0] + [5.0] * 16, 5)
    weighed = read(feedback, np.arange(100), np.arange(100), "rate", stars)
    assert weighed.weights[:4].tolist() == pytest.approx([0.1, 0.4, 0.8, 1])  # two stars: 5 of 100 are below
    assert weighed.counted[:4].tolist() == pytest.approx([0.1, 0.4, 0.8, 1])
    assert not weighed.disliked.any()


def test_one_star_counts_a_tenth_of_five_also_where_half_of_all_is_one_star(feedback):
    weighed = read(feedback, np.arange(40), np.tile([0, 1], 20), "rate", np.tile([1.0, 5.0], 20))
    assert weighed.counted[:2].tolist() == pytest.approx([0.1, 1])


def test_the_value_of_another_action_is_no_rating(feedback):
    assert read(feedback, np.arange(4), 7, "purchase", [1, 2, 3, 400]).counted.tolist() == [1.0] * 4


ACTIONS = st.sampled_from(["click", "rate", "dislike", "Thumbs-Down", "mystery", "buy", ""])
EVENTS = st.lists(st.tuples(st.integers(-2, 3), st.integers(0, 3), ACTIONS, st.floats(width=32)), max_size=60)


@pytest.mark.slow
@settings(max_examples=60)
@given(EVENTS, st.floats(0, 100), st.lists(st.integers(-(10**9), 10**9), min_size=60, max_size=60))
def test_weights_and_counters_are_finite_and_not_negative_whatever_comes(events, weight, delays):
    feedback = Feedback(TrainerConfig(action_weights={"buy": weight, "dislike": weight}))
    states = ItemCounters()
    for start in range(0, len(events), 13):
        users, items, actions, values = zip(*events[start : start + 13], strict=True)
        ts = NOW + np.array(delays[start : start + 13])[: len(users)]
        weighed = read(feedback, np.maximum(users, -1), np.array(items), np.array(actions), values, ts)
        for part in (weighed.weights, weighed.counted, weighed.undamped):
            assert np.isfinite(part).all()
            assert (part >= 0).all()
        liked = ~weighed.disliked
        states.add_engagements(np.array(items)[liked], ts[liked], weighed.counted[liked])
        assert np.isfinite(states.values).all()
        assert (states.values >= 0).all()
        assert np.isfinite(states.features(np.arange(4), NOW)).all()
