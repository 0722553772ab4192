"""Durable files: written once, fsynced, with their size and SHA-256; and links and folders as durable."""

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
    """Write a new file piece by piece and fsync it."""
    sha256, size = hashlib.sha256(), 0
    with path.open("xb", buffering=0) as file:
        failpoint("write")
        for piece in pieces:
            view = memoryview(piece)
            sha256.update(view)
            size += len(view)
            while len(view):
                view = view[file.write(view) :]
        failpoint("write")
        failpoint("fsync")
        os.fsync(file.fileno())
        failpoint("fsync")
    return FileEntry(size, sha256.hexdigest())


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file, which never changes; where the file system cannot, copy and fsync it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Fsync a folder, so that the names in it are durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
