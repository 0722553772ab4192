"""The spectral backbone against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.static.backbone import cached_spectrum, decompose


@pytest.fixture
def pairs() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.unique(np.stack([rng.integers(60, size=500), rng.integers(40, size=500)], 1), axis=0)


def normalised(pairs: np.ndarray) -> np.ndarray:
    matrix = np.zeros((60, 40))
    matrix[pairs[:, 0], pairs[:, 1]] = 1
    return matrix / np.sqrt(np.outer(np.maximum(matrix.sum(1), 1), np.maximum(matrix.sum(0), 1)))


def test_vectors_are_the_filtered_matrix(pairs):
    dense = normalised(pairs)
    left, values, right = np.linalg.svd(dense, full_matrices=False)
    degrees = np.maximum(np.bincount(pairs[:, 1], minlength=40), 1)
    users, items = decompose(pairs, (60, 40), 8, 30).vectors(8, 2.0, 0.5)
    wanted = (left[:, :8] * values[:8] ** 2) @ right[:8] * np.sqrt(degrees)
    np.testing.assert_allclose(users @ items.T, wanted, atol=1e-3)


def test_the_full_rank_gives_the_matrix_back(pairs):
    spectrum = decompose(pairs, (60, 40), 40, 2)
    users, items = spectrum.vectors(40, 1.0, 0.0)
    np.testing.assert_allclose(users @ items.T, normalised(pairs), atol=1e-4)
    assert (np.diff(spectrum.values) <= 0).all()
    assert spectrum.values[0] == pytest.approx(1.0, abs=1e-4)  # the norm of a normalised adjacency matrix


def test_a_matrix_of_lower_rank_has_no_more_directions():
    pairs = np.array([[user, item] for user in range(6) for item in range(4) if user // 3 == item // 2])
    spectrum = decompose(pairs, (6, 4), 4, 3)
    assert spectrum.values.tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


def test_a_decomposition_is_taken_from_its_file(pairs, tmp_path):
    first = cached_spectrum(pairs, (60, 40), 8, 3, tmp_path)
    files = list(tmp_path.iterdir())
    written = files[0].stat().st_mtime_ns
    again = cached_spectrum(pairs, (60, 40), 8, 3, tmp_path)
    np.testing.assert_array_equal(first.right, again.right)
    assert [(file.name, file.stat().st_mtime_ns) for file in tmp_path.iterdir()] == [(files[0].name, written)]
    cached_spectrum(pairs[1:], (60, 40), 8, 3, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
