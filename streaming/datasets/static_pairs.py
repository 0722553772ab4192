"""Static data sets: pairs of user and item without times, split into training and test; LightGCN's text format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.datasets.base import DataError

STATIC_NAMES = ("gowalla",)
"""Static data sets that are known by name; others are given as NAME:FOLDER in the same format."""

_OBTAIN = (
    "put LightGCN's files train.txt and test.txt (github.com/gusye1234/LightGCN-PyTorch, data/gowalla) into a folder "
    "and name it as gowalla:/path/to/folder, or as $HSNN_DATA/gowalla"
)


class StaticPairs(NamedTuple):
    """Training and test pairs of a static data set; users and items are rows from 0.

    Attributes
    ----------
    name
    train, test : (m, 2) int64
        User row and item row, ordered by user, then item.
    users, items : int
        Number of rows.
    """

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    users: int
    items: int


def load_static(spec: str) -> StaticPairs:
    """Load a static data set, ``NAME`` or ``NAME:FOLDER``; without a folder it is ``$HSNN_DATA/NAME``.

    Raises
    ------
    DataError
        The data set is missing or a file of it cannot be read.
    """
    name, _, given = spec.partition(":")
    if not given and name not in STATIC_NAMES:
        raise DataError(
            f"no static data set is called {name!r}; known: {', '.join(STATIC_NAMES)}, or NAME:FOLDER with a train.txt "
            "and a test.txt of lines `USER ITEM ITEM ...`"
        )
    root = os.environ.get("HSNN_DATA")
    if not given and not root:
        raise DataError(f"{name} is not fetched by hsnn: {_OBTAIN}")
    folder = Path(given or f"{root}/{name}").expanduser()
    train, test = (_read_lists(folder / f"{part}.txt") for part in ("train", "test"))
    users, items = (int(max(train[:, column].max(), test[:, column].max())) + 1 for column in (0, 1))
    if np.isin(train @ (items, 1), test @ (items, 1)).any():
        raise DataError(f"{folder}: some pairs are in train.txt and in test.txt, so a test would measure memory")
    return StaticPairs(name, train, test, users=users, items=items)


def _read_lists(file: Path) -> NDArray[np.int64]:
    """Read lines ``USER ITEM ITEM ...`` as distinct pairs (m, 2)."""
    try:
        lines = [np.array(line.split(), np.int64) for line in file.read_text("ascii").splitlines() if line]
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); {_OBTAIN}") from error
    except ValueError as error:
        raise DataError(f"{file}: a line is not `USER ITEM ITEM ...` in whole numbers ({error})") from error
    pairs = [np.stack(np.broadcast_arrays(line[0], line[1:]), 1) for line in lines]
    found = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
    if not len(found) or found.min() < 0:
        raise DataError(f"{file} holds {'negative rows' if len(found) else 'no pairs'}; {_OBTAIN}")
    return np.unique(found, axis=0)
