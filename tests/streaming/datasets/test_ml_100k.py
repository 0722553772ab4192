from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsnn.streaming.datasets import DataError, ml_100k


def test_ratings_become_interactions_in_time_order_with_ties_as_in_the_file(grouplens: Path) -> None:
    data = ml_100k.read(grouplens)
    e = data.engagements
    assert (e.user, e.item, set(e.action)) == (["8", "7", "7"], ["1", "2", "1"], {"rate"})
    np.testing.assert_array_equal(e.ts, [100_000, 200_000, 200_000])
    np.testing.assert_array_equal(e.value, [5, 3, 1])


def test_features_and_titles(grouplens: Path) -> None:
    data = ml_100k.read(grouplens)
    assert [(film.id, film.features) for film in data.items] == [
        ("1", {"title": "Amélie (2001)", "genres": ["Drama"], "year": 2001}),
        ("2", {"title": "unknown", "genres": ["Action", "Drama"]}),
    ]
    assert [(user.id, user.ts) for user in data.users] == [("8", 99_999), ("7", 199_999)]
    assert data.users[0].features == {"age": "50s", "gender": "F", "occupation": "other"}
    assert (data.title("1"), data.title("404")) == ("Amélie (2001)", "item 404")


def test_both_formats_give_the_same_data(grouplens: Path, recbole: Path) -> None:
    assert list(ml_100k.read(grouplens).events()) == list(ml_100k.read(recbole).events())


def test_a_folder_without_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither u\.data nor ml-100k\.inter"):
        ml_100k.read(tmp_path)


def test_a_broken_line_is_an_error_that_names_the_folder(grouplens: Path) -> None:
    (grouplens / "u.data").write_text("7\t2\tthree\t200\n")
    with pytest.raises(DataError, match="grouplens"):
        ml_100k.read(grouplens)
