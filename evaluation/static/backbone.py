"""Backbone of the static protocol: vectors from a spectral filter of the interaction graph, in closed form.

With ``R`` the matrix of users and items and ``A = Du^-1/2 R Di^-1/2 = U S V'`` its normalised form, as LightGCN
propagates it, the filter of GF-CF (arXiv 2108.07567) and BSPM (2211.09204) keeps the smooth part of the graph. Here

    score = U S^p V' Di^b

A truncated singular value decomposition gives it as a dot product: ``U S^p`` are the users, ``V Di^b`` the items. With
p = 1 and b = 1/2 it is GF-CF's ideal low-pass filter; p > 1 lets high frequencies fade rather than end at a rank.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse

# Directions beyond those that are kept: with them few rounds suffice.
_OVERSAMPLE = 64
# Share of the largest squared singular value below which float32 columns count as dependent: their rounding error.
_DEPENDENT = 1e-6


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular triplets of the normalised interaction matrix.

    Attributes
    ----------
    left : (U, k) float32
    values : (k,) float32
        In falling order.
    right : (n, k) float32
    degrees : (n,) float32
        Engagements of every item, at least 1.
    """

    left: NDArray[np.float32]
    values: NDArray[np.float32]
    right: NDArray[np.float32]
    degrees: NDArray[np.float32]

    def vectors(self, width: int, power: float, popularity: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute the vectors of users (U, width) and items (n, width) for p = `power` and b = `popularity`."""
        users = self.left[:, :width] * self.values[:width] ** power
        items = self.right[:, :width] * self.degrees[:, None] ** popularity
        return users.astype(np.float32), items.astype(np.float32)


def decompose(pairs: NDArray[np.int64], shape: tuple[int, int], width: int, rounds: int, seed: int = 0) -> Spectrum:
    """Decompose the normalised matrix of pairs (m, 2) by randomised subspace iteration (Halko et al., 2011).

    Parameters
    ----------
    shape
        Users and items.
    width
        Singular triplets that are kept; at most the smaller side of the matrix.
    rounds
        Multiplications with ``A'A``; each separates neighbouring singular values further.
    """
    ones = np.ones(len(pairs), np.float32)
    matrix = sparse.csr_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=shape)
    by_user, by_item = (np.maximum(np.asarray(matrix.sum(axis)).ravel(), 1) for axis in (1, 0))
    normalised = (sparse.diags(by_user**-0.5) @ matrix @ sparse.diags(by_item**-0.5)).tocsr().astype(np.float32)
    transposed = normalised.T.tocsr()
    width = min(width, *shape)
    columns = min(width + _OVERSAMPLE, *shape)
    start = np.random.default_rng(seed).standard_normal((shape[1], columns))
    basis = _orthonormal(start.astype(np.float32))
    for _ in range(rounds):
        basis = _orthonormal(transposed @ (normalised @ basis))
    image = normalised @ basis  # (U, columns)
    squares, rotation = np.linalg.eigh((image.T @ image).astype(np.float64))
    kept = np.argsort(-squares, kind="stable")[:width]
    values = np.sqrt(np.maximum(squares[kept], 1e-24)).astype(np.float32)
    turned = rotation[:, kept].astype(np.float32)
    return Spectrum((image @ turned) / values, values, basis @ turned, by_item.astype(np.float32))


def cached_spectrum(
    pairs: NDArray[np.int64], shape: tuple[int, int], width: int, rounds: int, folder: Path
) -> Spectrum:
    """Return `decompose` from a file in `folder`, which is written the first time: a long run can be taken up again."""
    digest = hashlib.sha256(pairs.tobytes() + repr((shape, width, rounds)).encode()).hexdigest()[:16]
    file = folder / f"spectrum-{digest}.safetensors"
    if not file.exists():
        found = decompose(pairs, shape, width, rounds)
        folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        arrays = {name: np.ascontiguousarray(getattr(found, name)) for name in Spectrum.__slots__}
        save_file(arrays, part)
        part.rename(file)
    return Spectrum(**load_file(file))


def _orthonormal(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Find an orthonormal basis (n, <= k) of columns (n, k) by their Gram matrix; dependent ones are left out.

    Several times as fast as Householder's for tall columns; the second time mends the rounding of the first.
    """
    for _ in range(2):
        squares, rotation = np.linalg.eigh((columns.T @ columns).astype(np.float64))
        kept = squares > _DEPENDENT * squares.max()
        columns = columns @ (rotation[:, kept] / np.sqrt(squares[kept])).astype(np.float32)
    return columns
