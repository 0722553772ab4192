"""Files of brought vectors and pairs: what is read, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hsnn.trainer.errors import VectorFileError
from hsnn.trainer.vector_index.files import check_widths, read_pairs, read_vectors


def npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "array.npy", array, allow_pickle=array.dtype == object)
    return folder / "array.npy"


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32])
def test_both_formats_give_the_same_vectors(tmp_path, kind):
    vectors = np.arange(6).reshape(3, 2).astype(kind)
    save_file({"anything": vectors}, tmp_path / "array.safetensors")
    for file in (npy(tmp_path, vectors), tmp_path / "array.safetensors"):
        found = read_vectors(file, "user vectors")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, vectors)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(4), r"user vectors have the shape \(4,\); write one array \(rows, width\)"),
        (np.zeros((0, 4)), "not empty"),
        (np.array([["a"]]), "write them as float32"),
        (
            np.array([[0.0], [np.nan], [np.inf]]),
            "2 of 3 user vectors hold NaN or infinity as float32, the first in row 1",
        ),
        (np.array([[1e300]]), "infinity as float32"),
        (np.array([[None]]), "not a readable npy file"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused(tmp_path, array, words):
    with np.errstate(over="ignore"), pytest.raises(VectorFileError, match=words):
        read_vectors(npy(tmp_path, array), "user vectors")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(VectorFileError, match="cannot be read: No such file"):
        read_vectors(tmp_path / "none.npy", "user vectors")
    with pytest.raises(VectorFileError, match=r"end in \.npy or \.safetensors"):
        read_vectors(tmp_path / "vectors.csv", "user vectors")
    (tmp_path / "a.safetensors").write_bytes(b"something else")
    with pytest.raises(VectorFileError, match="not a readable safetensors file"):
        read_vectors(tmp_path / "a.safetensors", "user vectors")
    (tmp_path / "empty.npy").write_bytes(b"")
    with pytest.raises(VectorFileError, match="not a readable npy file"):
        read_vectors(tmp_path / "empty.npy", "user vectors")
    save_file({"a": np.zeros((1, 2)), "b": np.zeros((1, 2))}, tmp_path / "two.safetensors")
    with pytest.raises(VectorFileError, match=r"holds 2 arrays \(a, b\); write user vectors alone"):
        read_vectors(tmp_path / "two.safetensors", "user vectors")


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (np.zeros((2, 3), np.int64), r"write one array \(pairs, 2\)"),
        (np.zeros((0, 2), np.int64), r"write one array \(pairs, 2\)"),
        (np.zeros((2, 2)), "write rows as int64"),
        (np.array([[0, 0], [0, 7], [3, 0]]), "pair 2 names user row 3, but there are 3 user vectors, rows 0 to 2"),
        (np.array([[0, 0], [0, 8], [0, -1]]), "pair 1 names item row 8, .* 2 pairs are out of range"),
    ],
)
def test_pairs_that_cannot_be_used_are_refused(tmp_path, pairs, words):
    with pytest.raises(VectorFileError, match=words):
        read_pairs(npy(tmp_path, pairs), users=3, items=8)


def test_pairs_are_read(tmp_path):
    assert read_pairs(npy(tmp_path, np.array([[2, 7]], np.uint16)), users=3, items=8).tolist() == [[2, 7]]


def test_users_and_items_must_have_a_dot_product():
    check_widths(np.zeros((1, 2), np.float32), np.zeros((5, 2), np.float32))
    with pytest.raises(VectorFileError, match="user vectors are 2 wide and item vectors 3"):
        check_widths(np.zeros((1, 2), np.float32), np.zeros((5, 3), np.float32))
    with pytest.raises(VectorFileError, match="at least 2 numbers"):
        check_widths(np.zeros((1, 1), np.float32), np.zeros((5, 1), np.float32))
