"""Files that are on disk when they are said to be, and that know their size and SHA-256."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from hsnn.monitoring.process.failpoints import failpoint


class FileEntry(msgspec.Struct, frozen=True):
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


def write_new(path: Path, pieces: Iterable[bytes | memoryview]) -> FileEntry:
    """Write a file that is not there yet, piece by piece, and sync it."""
    found, size = hashlib.sha256(), 0
    with path.open("xb", buffering=0) as file:
        failpoint("write")
        for piece in pieces:
            view = memoryview(piece)
            found.update(view)
            size += len(view)
            while len(view):
                view = view[file.write(view) :]
        failpoint("write")
        failpoint("fsync")
        os.fsync(file.fileno())
        failpoint("fsync")
    return FileEntry(size, found.hexdigest())


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file, which never changes, a second name; where the file system cannot, copy and sync it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
