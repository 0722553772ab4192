from __future__ import annotations

import numpy as np
import pytest

from hsnn.trainer.features.half_life import HalfLifeSelector
from hsnn.trainer.features.item_counters import HALF_LIVES, ItemCounters

MINUTE = 60_000


def follow(streams: list[list[int]], items: int, **options: bool) -> HalfLifeSelector:
    """One batch of clicks a minute."""
    states, choice = ItemCounters(), HalfLifeSelector(**options)
    for number, rows in enumerate(streams):
        now = 1_700_000_000_000 + number * MINUTE
        choice.update(states, np.array(rows), np.ones(len(rows), np.float32), now=now, items=items)
        states.add_engagements(np.array(rows), np.full(len(rows), now), np.ones(len(rows), np.float32))
    return choice


@pytest.mark.slow
def test_news_are_predicted_by_a_short_memory_and_classics_by_a_long_one():
    rng = np.random.default_rng(0)
    news = [
        (number // 6 * 3 + rng.integers(3, size=20)).tolist() for number in range(300)
    ]  # three new items in 6 minutes
    weights = 1 / (1 + np.arange(40))
    classics = [rng.choice(40, 20, p=weights / weights.sum()).tolist() for _ in range(300)]
    assert follow(news, 150).best == 0
    assert follow(classics, 40).best >= HALF_LIVES.index(8 * 3_600_000.0)


def test_losses_are_judged_before_the_batch_is_counted():
    """The first batch is judged knowing nothing: its loss is that of guessing among all items."""
    choice = follow([[0, 0, 0]], items=50)
    assert choice.loss.tolist() == pytest.approx([0.01 * np.log(50)] * len(HALF_LIVES))


def test_of_equally_good_ones_the_longest_is_the_best():
    """Nothing is known before the first batch, and of a first batch nothing was counted before."""
    for streams in ([], [[0, 1, 0]]):
        assert follow(streams, items=50).best == len(HALF_LIVES) - 1


def test_totals_are_the_sum_of_all_counts():
    states, choice = ItemCounters(), HalfLifeSelector()
    now = 1_700_000_000_000
    for number in range(20):
        now += 7 * MINUTE
        rows = np.arange(number, number + 5)
        choice.update(states, rows, np.ones(5, np.float32), now=now, items=30)
        states.add_engagements(rows, np.full(5, now), np.ones(5, np.float32))
    np.testing.assert_allclose(choice.totals, states.counts(np.arange(30), now).sum(0), rtol=1e-4)


def test_time_that_runs_back_decays_nothing():
    choice = HalfLifeSelector()
    choice.update(ItemCounters(), np.array([0]), np.full(1, 4, np.float32), now=10**12, items=1)
    choice.update(ItemCounters(), np.array([0]), np.ones(1, np.float32), now=10**12 - 10**9, items=1)
    assert choice.totals.tolist() == [5.0] * len(HALF_LIVES)
    assert choice.time == 10**12


def test_items_that_nobody_knows_say_nothing_of_half_lives_if_known_ones_are_asked_alone():
    """Half of every batch is clicks on classics, which never grow old, half is new items."""
    streams = [[number % 5, (number + 1) % 5, 10 + 2 * number, 11 + 2 * number] for number in range(60)]
    assert follow(streams, 200).best == 0
    assert follow(streams, 200, known=True).best == len(HALF_LIVES) - 1


def test_known_items_are_judged_as_before():
    """After a first batch with all items, both choices hear the same."""
    every = [list(range(6)), *([number % 6, number % 4] for number in range(40))]
    whole, known = follow(every, 6), follow(every, 6, known=True)
    first = 0.01 * np.log(6) * 0.99**40  # the first batch knew none
    np.testing.assert_allclose(whole.loss, known.loss + first, rtol=1e-9)


def test_an_event_of_weight_zero_says_nothing_of_half_lives():
    states, plain, more = ItemCounters(), HalfLifeSelector(), HalfLifeSelector()
    states.add_engagements(np.array([0, 0, 1]), np.full(3, 10**12), np.ones(3, np.float32))
    plain.update(states, np.array([0]), np.ones(1, np.float32), now=10**12, items=3)
    more.update(states, np.array([0, 2, 2]), np.array([1, 0, 0], np.float32), now=10**12, items=3)
    assert more.loss.tolist() == plain.loss.tolist()
    assert more.totals.tolist() == plain.totals.tolist()
    more.update(states, np.array([2]), np.zeros(1, np.float32), now=10**12, items=3)
    assert more.loss.tolist() == plain.loss.tolist()


def test_the_last_batch_is_told_alone_and_is_nothing_where_no_event_counts():
    assert follow([[0, 0, 0]], items=50).last_loss.tolist() == pytest.approx([np.log(50)] * len(HALF_LIVES))
    assert np.isnan(follow([[0, 0], [1, 2]], items=50, known=True).last_loss).all()
