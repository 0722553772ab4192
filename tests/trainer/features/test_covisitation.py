"""Co-visitation against the plainest reference: one pair, one list, one place at a time."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.covisitation import RECENT_ITEMS, Covisitation
from hsnn.trainer.messages import COVISIT_HALF_LIVES, NEIGHBOURS

START = 1_700_000_000_000
HOUR = 3_600_000
ITEMS = 40
ROW = st.integers(0, ITEMS - 1)
EVENT = st.tuples(st.lists(ROW, max_size=6), ROW, st.integers(0, 30), st.integers(0, 8))
BATCHES = st.lists(st.lists(EVENT, max_size=30), min_size=1, max_size=5)
Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def columns(events: list[tuple[list[int], int, int, int]]) -> Batch:
    """Histories (B, 6) of equidistant items, the last one `gap` hours before the event at hour `at`."""
    items, times = np.full((len(events), 6), -1, np.int32), np.zeros((len(events), 6), np.int64)
    ts = np.array([START + at * HOUR for _, _, at, _ in events], np.int64)
    for number, (history, _, at, gap) in enumerate(events):
        if history:
            items[number, -len(history) :] = history
        times[number] = START + (at - gap * np.arange(6, 0, -1)) * HOUR
    return items, times, np.array([item for _, item, _, _ in events], np.int64), ts


def decay(elapsed: int, half_life: float) -> np.float64:
    return np.exp2(-elapsed / half_life)


class Naive:
    """The same lists as dictionaries of places: (row, half-life) -> [[neighbour, weight], ...]."""

    def __init__(self) -> None:
        self.places = defaultdict(lambda: [[-1, np.float32(0)] for _ in range(NEIGHBOURS)])
        self.totals, self.last = defaultdict(lambda: np.float32(0)), defaultdict(int)

    def pairs(self, batch: Batch) -> list[tuple[int, int, int, list[float]]]:
        forward, backward = [], []
        for history, times, item, ts in zip(*batch, strict=True):
            for back in range(RECENT_ITEMS, 0, -1):
                old, gap = int(history[-back]), max(int(ts - times[-back]), 0)
                if old >= 0 and old != item:
                    weights = [decay(gap, half) / back for half in COVISIT_HALF_LIVES]
                    weights = [w if w >= 1 / 128 else 0.0 for w in weights]
                    forward.append((old, int(item), int(ts), weights))
                    backward.append((int(item), old, int(ts), [w / 2 for w in weights]))
        return forward + backward

    def update(self, batch: Batch) -> list[int]:
        pairs = self.pairs(batch)
        rows = sorted({source for source, *_ in pairs})
        for row in rows:
            latest = max([self.last[row], *(ts for source, _, ts, _ in pairs if source == row)])
            for h, half in enumerate(COVISIT_HALF_LIVES):
                factor = decay(latest - self.last[row], half).astype(np.float32)
                for place in self.places[row, h]:
                    place[1] *= factor
                own = [(t, w[h] * decay(latest - ts, half)) for source, t, ts, w in pairs if source == row]
                self.totals[row, h] = self.totals[row, h] * factor + np.float32(sum(w for _, w in own))
                sums: dict[int, float] = defaultdict(float)
                for target, weight in own:
                    sums[target] += weight
                self.add(self.places[row, h], {t: np.float32(w) for t, w in sorted(sums.items())})
            self.last[row] = latest
        return rows

    @staticmethod
    def add(places: list[list], sums: dict[int, np.float32]) -> None:
        at = {name: number for number, (name, _) in enumerate(places)}
        new = sorted(((t, w) for t, w in sums.items() if t not in at and w > 0), key=lambda pair: -pair[1])
        for target in sums.keys() & at.keys():
            places[at[target]][1] += sums[target]
        smallest = sorted(range(NEIGHBOURS), key=lambda number: places[number][1])
        for rank, ((target, weight), number) in enumerate(zip(new, smallest, strict=False)):
            if rank < 2 or weight > places[number][1]:
                places[number] = [target, weight]

    def score(self, history: np.ndarray, now: int, candidate: int, h: int) -> float:
        score, half = 0.0, COVISIT_HALF_LIVES[h]
        for row in history[-RECENT_ITEMS:].tolist():
            faded = decay(max(now - self.last[row], 0), half)
            weight = sum(w for name, w in self.places[row, h] if name == candidate) if row >= 0 else 0.0
            score += weight * faded / (1 + self.totals[row, h] * faded)
        return float(np.log1p(score))


def agree(fast: Covisitation, naive: Naive) -> None:
    assert fast.last.tolist() == [naive.last[row] for row in range(len(fast.last))]
    for row, h in np.ndindex(fast.totals.shape):
        names, weights = zip(*naive.places[row, h], strict=True)
        assert fast.neighbours[row, h].tolist() == list(names)
        np.testing.assert_array_equal(fast.weights[row, h], weights)
        assert fast.totals[row, h] == naive.totals[row, h]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(BATCHES)
def test_lists_are_those_of_the_reference(batches):
    fast, naive = Covisitation(rows=ITEMS), Naive()
    for batch in map(columns, batches):
        assert fast.update(*batch).tolist() == naive.update(batch)
    agree(fast, naive)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_full_lists_are_those_of_the_reference(seed):
    rng, fast, naive = np.random.default_rng(seed), Covisitation(rows=120), Naive()
    for _ in range(4):  # item 0 is in every second event: its lists overflow
        items = rng.integers(120, size=(60, 7)) * rng.integers(2, size=(60, 7))
        batch = columns([(row[:-1].tolist(), int(row[-1]), int(rng.integers(9)), 0) for row in items])
        assert fast.update(*batch).tolist() == naive.update(batch)
    agree(fast, naive)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(BATCHES, st.sets(st.integers(0, ITEMS + 5), min_size=1), st.integers(0, 40))
def test_scores_are_those_of_the_reference_and_alone_as_in_a_batch(batches, chosen, later):
    fast, naive = Covisitation(rows=ITEMS), Naive()
    for batch in map(columns, batches):
        fast.update(*batch)
        naive.update(batch)
    history, _, _, now = columns(max(batches, key=len))
    now, candidates = now + later * HOUR, np.array(sorted(chosen))
    scores = fast.scores(history, now, candidates)
    assert (scores.shape, scores.dtype) == ((len(now), len(candidates), 2), np.float32)
    for query in range(len(now)):
        alone = fast.scores_of_query(history[query], int(now[query]), candidates)
        assert alone.tobytes() == scores[query].tobytes()
        wanted = [[naive.score(history[query], int(now[query]), c, h) for h in (0, 1)] for c in chosen]
        wanted = [row for _, row in sorted(zip(chosen, wanted, strict=True))]
        np.testing.assert_allclose(alone, wanted, rtol=1e-5, atol=1e-7)


def follow(pairs: Covisitation, old: int, new: int, ts: int = START, gap: int = 0) -> None:
    one = np.array([ts])
    pairs.update(np.array([[old]]), (one - gap)[:, None], np.array([new]), one)


def test_neighbours_must_be_near_in_time_for_the_short_list_only():
    pairs = Covisitation()
    follow(pairs, 1, 2, gap=24 * HOUR)
    assert pairs.neighbours[1, :, 0].tolist() == [-1, 2]
    assert pairs.weights[1, 1, 0] == pytest.approx(2 ** (-24 / 720))


def test_a_half_life_halves():
    pairs = Covisitation()
    follow(pairs, 1, 2)
    follow(pairs, 1, 3, START + HOUR)
    assert dict(zip(pairs.neighbours[1, 0].tolist(), pairs.weights[1, 0].tolist(), strict=True)) == {
        2: 0.5,
        3: 1.0,
        -1: 0.0,
    }
    assert pairs.totals[1, 0] == 1.5


def test_reading_changes_nothing():
    pairs = Covisitation()
    follow(pairs, 1, 2)
    before = pairs.weights.copy(), pairs.last.copy()
    pairs.scores(np.array([[1]]), np.array([START + HOUR]), np.arange(3))
    assert np.array_equal(pairs.weights, before[0])
    assert np.array_equal(pairs.last, before[1])


@pytest.mark.slow
def test_a_full_list_still_lets_a_newcomer_in_and_it_stays_if_it_comes_again():
    pairs = Covisitation()
    for number in range(NEIGHBOURS):
        for _ in range(3 + number):
            follow(pairs, 0, 1 + number)
    follow(pairs, 0, 100)
    assert 100 in pairs.neighbours[0, 1]
    assert 1 not in pairs.neighbours[0, 1]  # the smallest left
    assert pairs.totals[0, 1] == sum(3 + number for number in range(NEIGHBOURS)) + 1  # but is not forgotten
    for _ in range(4):
        follow(pairs, 0, 100)
    follow(pairs, 0, 101)
    assert {100, 101} <= set(pairs.neighbours[0, 1].tolist())


def test_one_batch_cannot_flush_a_list():
    pairs = Covisitation()
    for number in range(NEIGHBOURS):
        follow(pairs, 0, 1 + number)
    crowd, at = np.arange(100, 160), np.full(60, START)
    pairs.update(np.zeros((60, 1), np.int32), at[:, None], crowd, at)
    kept = set(pairs.neighbours[0, 1].tolist())
    assert len(kept & set(range(1, 1 + NEIGHBOURS))) == NEIGHBOURS - 2
    assert len(kept & set(crowd.tolist())) == 2


def test_evidence_must_be_earned_and_fades():
    pairs = Covisitation()
    history, now, candidates = np.array([[-1, 0]]), np.array([START]), np.array([5])
    seen = []
    for _ in range(3):
        follow(pairs, 0, 5)
        seen.append(float(np.expm1(pairs.scores(history, now, candidates)[0, 0, 1])))
    assert seen == pytest.approx([1 / 2, 2 / 3, 3 / 4])
    later = pairs.scores(history, now + HOUR, candidates)[0, 0]
    assert float(np.expm1(later[0])) == pytest.approx(1.5 / 2.5)


def test_an_item_is_no_neighbour_of_itself_and_nothing_known_gives_nothing():
    pairs = Covisitation()
    follow(pairs, 3, 3)
    assert (pairs.neighbours == -1).all()
    nothing = np.zeros((0, 4), np.int32)
    assert pairs.update(nothing, nothing.astype(np.int64), nothing[:, 0], nothing[:, 0].astype(np.int64)).size == 0
    unknown = np.full((2, 4), -1, np.int32)
    assert not pairs.scores(unknown, np.full(2, START), np.array([3, 2000])).any()
    assert pairs.scores_of_query(unknown[0], START, np.zeros(0, np.int64)).shape == (0, 2)


def test_a_mirror_takes_lists_over_as_they_are():
    pairs, mirror = Covisitation(), Covisitation(rows=0)
    follow(pairs, 7, 2)
    rows = np.array([7, 2])
    mirror.set_rows(rows, pairs.neighbours[rows], pairs.weights[rows], pairs.totals[rows], pairs.last[rows])
    for history in ([7], [2]):
        one = np.array(history), START + 99, np.array([2, 7])
        np.testing.assert_array_equal(mirror.scores_of_query(*one), pairs.scores_of_query(*one))
    mirror.set_rows(rows[:0], pairs.neighbours[:0], pairs.weights[:0], pairs.totals[:0], pairs.last[:0])
