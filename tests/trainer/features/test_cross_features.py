"""Cross features against the plainest reference: one query, one candidate, one token at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.cross_features import CROSS_FEATURES, cross_features_of_query
from hsnn.trainer.features.hashing import FIELD_SLOTS, hash_features, pad_tokens
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.modules.cross_inputs import cross_features

START = 1_700_000_000_000
ITEMS, WIDTH, LENGTH = 12, 5, 7
TOKENS = st.lists(st.lists(st.integers(0, 25), max_size=WIDTH, unique=True), min_size=ITEMS, max_size=ITEMS)
ROWS = st.integers(0, ITEMS - 1)
HISTORIES = st.lists(
    st.tuples(st.lists(ROWS, max_size=LENGTH), st.lists(st.integers(0, 30), max_size=2)), min_size=1, max_size=6
)


def padded(histories: list[list[int]], length: int) -> np.ndarray:
    return np.array([[-1] * (length - len(one)) + one for one in histories], np.int32)


def asked(histories: list[tuple[list[int], list[int]]]) -> QueryArrays:
    count = len(histories)
    own = pad_tokens([tokens for _, tokens in histories], 3)
    now = START + 1000 * np.arange(count)
    return QueryArrays(
        padded([items for items, _ in histories], LENGTH),
        np.full((count, LENGTH), START),
        own,
        np.full((count, 1), -1, np.int32),
        now,
    )


def naive(history: list[int], own: list[int], item: list[int], by_row: list[list[int]]) -> list[float]:
    back = {place: 1 / (len(history) - place) for place in range(len(history))}
    weight = {place: back[place] / sum(back.values()) for place in back}
    columns = []
    for slot in range(FIELD_SLOTS):
        mine = [token for token in item if token % FIELD_SLOTS == slot]
        gains = [sum(weight[place] for place, row in enumerate(history) if token in by_row[row]) for token in mine]
        columns.append(sum(gains) / len(mine) if mine else 0.0)
    return [*columns, len(set(item) & set(own))]


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(TOKENS, HISTORIES, st.sets(ROWS), st.lists(st.tuples(st.lists(ROWS, max_size=4), ROWS), max_size=20))
def test_the_columns_are_those_of_the_reference_and_alone_as_in_a_batch(by_row, histories, chosen, seen):
    matrix, queries, candidates = pad_tokens(by_row, WIDTH), asked(histories), np.array(sorted(chosen), np.int64)
    pairs, at = Covisitation(rows=ITEMS), np.full(len(seen), START)
    items = np.array([item for _, item in seen], np.int64)
    pairs.update(padded([one for one, _ in seen], 4).reshape(-1, 4), np.full((len(seen), 4), START), items, at)
    found = cross_features(queries, matrix, candidates, pairs)
    assert (found.shape, found.dtype) == ((len(histories), len(candidates), CROSS_FEATURES), np.float32)
    assert np.array_equal(found[..., -2:], pairs.scores(queries.history_items, queries.now, candidates))
    for number, (history, own) in enumerate(histories):
        wanted = np.array([naive(history, own, by_row[row], by_row) for row in candidates]).reshape(-1, FIELD_SLOTS + 1)
        np.testing.assert_allclose(found[number, :, : FIELD_SLOTS + 1], wanted, atol=1e-6)
        alone = cross_features_of_query(queries, number, matrix, candidates, pairs)
        np.testing.assert_allclose(alone, found[number], atol=1e-6)


def test_a_topic_that_user_and_item_share_is_a_match():
    """The paper's example: is_topic_match(user, item) for many items at once."""
    items = [{"topic": "war"}, {"topic": "love"}, {"topic": ["war", "love"]}, {}]
    matrix = pad_tokens([hash_features(one, 8192, 4) for one in items], 4)
    user = pad_tokens([hash_features({"topic": ["war", "love"], "age": "20s"}, 8192, 3)], 3)
    nobody = np.full((1, 2), -1, np.int32)
    query = QueryArrays(nobody, np.zeros((1, 2), np.int64), user, nobody, np.array([START]))
    found = cross_features(query, matrix, np.arange(4), Covisitation())
    assert found[0, :, FIELD_SLOTS].tolist() == [1, 1, 2, 0]
    assert not np.delete(found, FIELD_SLOTS, axis=2).any()


def test_matches_of_a_history_are_told_apart_by_field_and_fade_with_its_order():
    items = [{"genre": "war", "year": 1990}, {"genre": "love", "year": 1990}, {"genre": "war", "year": 1950}]
    matrix = pad_tokens([hash_features(one, 8192, 2) for one in items], 2)
    genre, year = (matrix[0] % FIELD_SLOTS).tolist()
    assert genre != year
    query = asked([([0, 1], [])])  # war, then love; both of 1990
    found = cross_features(query, matrix, np.arange(3), Covisitation())[0]
    assert found[:, genre].tolist() == pytest.approx([1 / 3, 2 / 3, 1 / 3])
    assert found[:, year].tolist() == pytest.approx([1, 1, 0])
