"""Whole tables and the rows that changed since are, put together, the tables: whatever happened in between."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.checkpoint.row_delta import TableRows, assemble
from hsnn.trainer.checkpoint.safetensors_writer import file_pieces
from hsnn.trainer.rowstore.arrays import Array, grown, unpack
from hsnn.trainer.rowstore.byte_strings import ByteStrings
from hsnn.trainer.rowstore.copy_on_write import TableCopy
from hsnn.trainer.rowstore.table import Table, TableKind
from hsnn.trainer.rowstore.write_barrier import WriteBarrier


class Toy:
    """A table with numbers and texts by row."""

    def __init__(self) -> None:
        self.numbers: Array = np.zeros((2, 2), np.int64)
        self.texts: list[bytes] = []
        self.barrier = WriteBarrier()
        self.table = Table(
            "toy",
            TableKind.EVENT,
            lambda: len(self.texts),
            self.barrier,
            data=self,
            texts={"toy.texts": lambda rows: ByteStrings.from_list([self.texts[row] for row in rows.tolist()])},
        )

    def columns(self) -> dict[str, Array]:
        return {"numbers": self.numbers}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        self.numbers = columns["numbers"].copy()

    def set(self, row: int, value: int) -> None:
        """Write to a row, or add one."""
        row = min(row, len(self.texts))
        if row == len(self.texts):
            self.numbers = grown(self.numbers, row + 1)
            self.texts.append(b"")
        else:
            self.barrier.before_write(row)
        self.numbers[row] = value
        self.texts[row] = b"x" * (value % 7)

    def cut(self, rows: int) -> None:
        """Lose the last rows, as a ring that starts anew does."""
        del self.texts[rows:]

    def now(self) -> dict[str, Array]:
        packed = ByteStrings.from_list(self.texts)
        return {
            "toy.numbers": self.numbers[: len(self.texts)].copy(),
            "toy.texts:bytes": packed.bytes,
            "toy.texts:lengths": packed.lengths,
        }


STEPS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 100)), max_size=8)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(STEPS, STEPS, st.none() | st.integers(0, 6)), min_size=1, max_size=6))
def test_the_parts_make_the_whole(course):
    toy, files = Toy(), []
    copy = TableCopy(toy.table, nullcontext, known=False)
    for steps, meanwhile, cut in course:
        for step in steps:
            toy.set(*step)
        if cut is not None:
            toy.cut(cut)
        then = toy.now()
        copy.begin()
        for step in meanwhile:
            toy.set(*step)
        copy.finish()
        rows = TableRows([copy])
        files.append(unpack(b"".join(file_pieces(rows.changed() if files else rows.whole()))))
        assert rows.lengths() == {name: len(array) for name, array in then.items()}
        for found in (assemble(files), unpack(b"".join(file_pieces(rows.whole())))):
            assert found.keys() == then.keys()
            assert all(np.array_equal(found[name], array) for name, array in then.items())
