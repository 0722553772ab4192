"""The files of a checkpoint's tables: whole ones, then changed rows, file by file, shared with the checkpoints before.

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
_MOST = 16
"""Files of changed rows at most."""


class FileChain(NamedTuple):
    """Files of tables, in order: names, and what they are."""

    names: tuple[str, ...] = ()
    files: dict[str, FileEntry] = {}  # noqa: RUF012 - never changed

    def takes(self, columns: dict[str, Column]) -> bool:
        """Whether these changed rows may follow; else the tables are to be written whole."""
        if not self.names or len(self.names) > _MOST:
            return False
        base, *rows = (self.files[name].bytes for name in self.names)
        return 2 * (sum(rows) + sum(column.nbytes for column in columns.values())) <= base

    def and_then(self, name: str, entry: FileEntry) -> FileChain:
        """Add a file."""
        return FileChain((*self.names, name), {**self.files, name: entry})


def write_rows(before: Path, known: FileChain, aside: Path, rows: TableRows, number: int) -> FileChain:
    """Write tables into the folder `aside`: as changes to what `before` has, if they are small, else whole."""
    changed = rows.changed() if known.names else {}
    if known.takes(changed) and _linked(before, known, aside):
        name = f"rows-{number:08d}.safetensors"
        return known.and_then(name, write_new(aside / name, file_pieces(changed)))
    name = f"base-{number:08d}.safetensors"
    return FileChain().and_then(name, write_new(aside / name, file_pieces(rows.whole())))


def _linked(before: Path, known: FileChain, aside: Path) -> bool:
    """Bring the files over; say whether they are all there, as far as their sizes tell."""
    try:
        for name in known.names:
            link_or_copy(before / name, aside / name)
            if (size := (aside / name).stat().st_size) != known.files[name].bytes:
                raise OSError(f"{name} has {size} bytes, not {known.files[name].bytes}")
    except OSError as error:
        _log.error("cannot go on from %s: %s; writing all tables whole", before, error)
        for name in known.names:
            (aside / name).unlink(missing_ok=True)
        return False
    return True
