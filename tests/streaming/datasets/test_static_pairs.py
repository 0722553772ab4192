"""Static pairs in LightGCN's text format."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsnn.streaming.datasets.base import DataError
from hsnn.streaming.datasets.static_pairs import load_static


def write(folder: Path, train: str, test: str) -> str:
    (folder / "train.txt").write_text(train)
    (folder / "test.txt").write_text(test)
    return f"mine:{folder}"


def test_lines_become_pairs(tmp_path):
    data = load_static(write(tmp_path, "1 4 2\n0 3\n\n2\n", "0 5\n3 1 1\n"))
    assert data.train.tolist() == [[0, 3], [1, 2], [1, 4]]
    assert data.test.tolist() == [[0, 5], [3, 1]]
    assert (data.name, data.users, data.items) == ("mine", 4, 6)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ("0 1", "0 1 2", "some pairs are in train.txt and in test.txt"),
        ("0 x", "0 1", "a line is not `USER ITEM ITEM ...`"),
        ("", "0 1", "train.txt holds no pairs"),
        ("0 -1", "0 1", "negative rows"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, train, test, words):
    with pytest.raises(DataError, match=words):
        load_static(write(tmp_path, train, test))


def test_missing_data_says_where_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"cannot be read .*LightGCN's files"):
        load_static(f"mine:{tmp_path}")
    with pytest.raises(DataError, match="no static data set is called 'other'; known: gowalla"):
        load_static("other")
    monkeypatch.delenv("HSNN_DATA", raising=False)
    with pytest.raises(DataError, match="gowalla is not fetched by hsnn"):
        load_static("gowalla")
    (tmp_path / "gowalla").mkdir()
    write(tmp_path / "gowalla", "0 1", "0 2")
    monkeypatch.setenv("HSNN_DATA", str(tmp_path))
    assert load_static("gowalla").items == 3
