"""Incremental checkpoints: a file of whole tables, then files of changed rows, shared with the checkpoints before.

A checkpoint's folder has all files that it needs; those that it shares with an older one are hard links. So any
checkpoint can be removed, copied and checked alone. Once the changed rows outgrow a half of the whole tables, or
there are many files of them, the tables are written whole again.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from hsnn.trainer.checkpoint.atomic_file import FileEntry, link_or_copy, write_new
from hsnn.trainer.checkpoint.row_delta import TableRows
from hsnn.trainer.checkpoint.safetensors_writer import Column, file_pieces

_log = logging.getLogger(__name__)
_MAX_DELTAS = 16
"""Files of changed rows at most: each has to be read, and to be whole, for the checkpoint to be."""


class FileChain(NamedTuple):
    """The files of a checkpoint's tables: their names in order, and size and SHA-256 of each."""

    names: tuple[str, ...] = ()
    files: dict[str, FileEntry] = {}  # noqa: RUF012 - never changed

    def accepts(self, columns: dict[str, Column]) -> bool:
        """Return whether these changed rows may be appended; else the tables are to be written whole."""
        if not self.names or len(self.names) > _MAX_DELTAS:
            return False
        base, *rows = (self.files[name].bytes for name in self.names)
        return 2 * (sum(rows) + sum(column.nbytes for column in columns.values())) <= base

    def appended(self, name: str, entry: FileEntry) -> FileChain:
        """Return the chain with one more file."""
        return FileChain((*self.names, name), {**self.files, name: entry})


def write_rows(before: Path, known: FileChain, *, aside: Path, rows: TableRows, number: int) -> FileChain:
    """Write tables into the folder `aside`: as changes to the files of `before`, if they are small, else whole."""
    changed = rows.changed() if known.names else {}
    if known.accepts(changed) and _link_files(before, known, aside):
        name = f"rows-{number:08d}.safetensors"
        return known.appended(name, write_new(aside / name, file_pieces(changed)))
    name = f"base-{number:08d}.safetensors"
    return FileChain().appended(name, write_new(aside / name, file_pieces(rows.whole())))


def _link_files(before: Path, known: FileChain, aside: Path) -> bool:
    """Link the files into `aside`; return whether all are there, as far as their sizes tell."""
    try:
        for name in known.names:
            link_or_copy(before / name, aside / name)
            if (size := (aside / name).stat().st_size) != known.files[name].bytes:
                raise OSError(f"{name} has {size} bytes, not {known.files[name].bytes}")
    except OSError as error:
        _log.error("cannot continue the files of %s: %s; writing all tables whole", before, error)
        for name in known.names:
            (aside / name).unlink(missing_ok=True)
        return False
    return True
