"""Leaf-contiguous records of the indexed items, kept up to date by rows that changed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled
from hsnn.trainer.features.item_counters import HALF_LIVES, POPULARITY_PRIOR, ItemCounters
from hsnn.trainer.retrieval.leaf_scan import Floats, LeafArrays, Rows
from hsnn.trainer.rowstore.arrays import grown, span_indices

# Places of spare room per leaf when all are laid out, beside a quarter of its items.
_SPARE = 8

# Event time after which popularity is decayed anew in all biases, ms. Within a second it changes by 0.2% at the
# shortest half-life, for all items nearly alike.
REFRESH_MS = 1000


class RecordColumns(NamedTuple):
    """Columns by row that records are made of.

    Attributes
    ----------
    nodes : (rows,) int32
        Leaf of each row, -1 for none.
    vectors : (rows, W) float32
        Static vectors, the last column a bias.
    state_vectors : (rows, p + 1) float32
        State vectors as of each item's last engagement, the last column a bias.
    until : (rows,) int64
        Time from which each row is not retrievable, epoch ms.
    """

    nodes: NDArray[np.int32]
    vectors: Floats
    state_vectors: Floats
    until: Rows


class _Decay(NamedTuple):
    """Popularity by row: counts and their times, the time to decay them to, the exponent per ms, and its factor."""

    counts: Floats
    last: Rows
    now: int
    per_ms: float
    factor: np.float32


class LeafRecords:
    """Records of items by place, and the place of each row.

    Updates write in place; where room runs out, `arrays` is replaced by larger copies, so that who still reads the old
    ones reads valid memory.

    Parameters
    ----------
    leaves
        Number of leaves, K.
    width
        Numbers of a record's vector, w.
    popularity_factor
        Factor of log popularity in a bias.

    Attributes
    ----------
    arrays : LeafArrays
    as_of : int
        Event time to which popularity is decayed in the biases, epoch ms.
    """

    def __init__(self, leaves: int, width: int, popularity_factor: float) -> None:
        self._factor, self._width = popularity_factor, width
        self.as_of = 0
        self.arrays = self._empty(np.zeros(leaves, np.int64), rows=0)

    def rebuild(self, columns: RecordColumns, states: ItemCounters) -> None:
        """Lay out all items anew."""
        nodes = columns.nodes
        indexed = np.flatnonzero(nodes >= 0)
        members = indexed[np.argsort(nodes[indexed], kind="stable")]
        sizes = np.bincount(nodes[indexed], minlength=len(self.arrays.start)).astype(np.int64)
        arrays = self._empty(sizes, rows=len(nodes))
        places = span_indices(arrays.start, sizes)
        arrays.size[:] = sizes
        arrays.row[places], arrays.place[members] = members, places
        arrays.leaf[: len(nodes)] = nodes
        _write(arrays, columns, members)
        _decay_rows(arrays, members, self._decay(states))
        self.arrays = arrays

    def update(self, rows: Rows, columns: RecordColumns, states: ItemCounters) -> None:
        """Bring unique `rows` (n,) to their leaves, and write their records."""
        arrays, nodes = self.arrays, columns.nodes
        if len(nodes) > len(arrays.place):
            arrays = arrays._replace(place=grown(arrays.place, len(nodes), -1), leaf=grown(arrays.leaf, len(nodes), -1))
            self.arrays = arrays
        rows = rows[rows < len(nodes)]
        if not _move(arrays, rows, nodes):
            self.rebuild(columns, states)
            return
        _write(arrays, columns, rows)
        _decay_rows(arrays, rows, self._decay(states))

    def set_ends(self, until: Rows) -> None:
        """Set the time from which each row (rows,) is not retrievable in all records."""
        held = np.flatnonzero(self.arrays.row >= 0)
        self.arrays.until[held] = until[self.arrays.row[held]]

    def refresh(self, now: int, states: ItemCounters) -> None:
        """Decay popularity to `now`, epoch ms, in all biases, if a second has passed since it was done."""
        if now - self.as_of >= REFRESH_MS or not self.as_of:
            self.as_of = now
            _decay_rows(self.arrays, np.flatnonzero(self.arrays.place >= 0), self._decay(states))

    def _decay(self, states: ItemCounters) -> _Decay:
        period = states.half_life
        return _Decay(
            counts=states.values[:, period],
            last=states.last,
            now=self.as_of,
            per_ms=-1 / HALF_LIVES[period],
            factor=np.float32(self._factor),
        )

    def _empty(self, sizes: Rows, rows: int) -> LeafArrays:
        """Lay out leaves of `sizes` (K,) without items in them."""
        room = sizes + sizes // 4 + _SPARE
        places = int(room.sum())
        return LeafArrays(
            vectors=np.zeros((places, self._width), np.float32),
            bias=np.zeros(places, np.float32),
            undecayed=np.zeros(places, np.float32),
            row=np.full(places, -1, np.int32),
            until=np.zeros(places, np.int64),
            start=np.cumsum(room) - room,
            size=np.zeros(len(sizes), np.int64),
            room=room,
            place=np.full(rows, -1, np.int64),
            leaf=np.full(rows, -1, np.int32),
        )


@compiled
def _move(arrays: LeafArrays, rows: Rows, nodes: NDArray[np.int32]) -> bool:
    """Bring rows to their leaves; False if one has no room, with every row in some leaf or none."""
    for row in rows:
        before, leaf = arrays.leaf[row], nodes[row]
        if before == leaf:
            continue
        if before >= 0:
            place, last = arrays.place[row], arrays.start[before] + arrays.size[before] - 1
            if place != last:
                for column in range(arrays.vectors.shape[1]):
                    arrays.vectors[place, column] = arrays.vectors[last, column]
                arrays.bias[place], arrays.undecayed[place] = arrays.bias[last], arrays.undecayed[last]
                arrays.row[place], arrays.until[place] = arrays.row[last], arrays.until[last]
                arrays.place[arrays.row[last]] = place
            arrays.row[last] = -1
            arrays.size[before] -= 1
            arrays.place[row], arrays.leaf[row] = -1, -1
        if leaf >= 0:
            if arrays.size[leaf] == arrays.room[leaf]:
                return False
            place = arrays.start[leaf] + arrays.size[leaf]
            arrays.until[place] = 0  # not retrievable before its record is written
            arrays.row[place], arrays.place[row], arrays.leaf[row] = row, place, leaf
            arrays.size[leaf] += 1
    return True


@compiled
def _write(arrays: LeafArrays, columns: RecordColumns, rows: Rows) -> None:
    """Write the records of rows that have a place."""
    _, vectors, state_vectors, until = columns
    of_state = state_vectors.shape[1] - 1
    static = arrays.vectors.shape[1] - of_state
    for row in rows:
        place = arrays.place[row]
        if place >= 0:
            for column in range(static):
                arrays.vectors[place, column] = vectors[row, column]
            bias = vectors[row, vectors.shape[1] - 1]
            if row < len(state_vectors):
                for column in range(of_state):
                    arrays.vectors[place, static + column] = state_vectors[row, column]
                bias += state_vectors[row, of_state]
            arrays.undecayed[place] = arrays.bias[place] = bias
            arrays.until[place] = until[row]


@compiled
def _decay_rows(arrays: LeafArrays, rows: Rows, decay: _Decay) -> None:
    """Decay the popularity in the biases of rows from their last engagement to another time."""
    prior = np.float32(POPULARITY_PRIOR)
    for row in rows:
        place = arrays.place[row]
        if place >= 0:
            count = decay.counts[row]
            left = count * np.float32(np.exp2(max(decay.now - decay.last[row], 0) * decay.per_ms))
            lost = np.log(left + prior) - np.log(count + prior)
            arrays.bias[place] = arrays.undecayed[place] + decay.factor * lost
