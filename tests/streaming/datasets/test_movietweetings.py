from __future__ import annotations

from pathlib import Path

import pytest

from hsnn.streaming.datasets import DataError, movietweetings


def test_ratings_and_films(tweets: Path) -> None:
    data = movietweetings.read(tweets)
    e = data.engagements
    assert (e.user, e.item, e.value.tolist()) == (["2", "3", "1"], ["1408101", "0068646", "0054890"], [10, 0, 9])
    assert [film.features for film in data.items] == [
        {"title": "Star: Trek (2013)", "genres": [], "year": 2013},
        {},  # rated, but not in movies.dat: it arrives without features
        {"title": "À bout (1960)", "genres": ["Action", "Short"], "year": 1960},
    ]
    assert data.title("0068646") == "item 0068646"


def test_a_missing_file_is_named(tweets: Path) -> None:
    (tweets / "movies.dat").unlink()
    with pytest.raises(DataError, match=r"movies\.dat cannot be read"):
        movietweetings.read(tweets)
