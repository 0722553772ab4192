"""Verify checkpoints: list them and check that they are complete, quickly by sizes or fully by SHA-256."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from hsnn.trainer.checkpoint.store import ARRAYS, CheckpointStore, Manifest
from hsnn.trainer.errors import CheckpointError


class CheckpointSummary(NamedTuple):
    """Summary of one checkpoint.

    Attributes
    ----------
    manifest
        None if it cannot be read.
    bytes
        Size of all its files on disk.
    written_at
        Epoch seconds, wall clock.
    damage
        What is wrong by manifest and sizes; empty if nothing is.
    """

    name: str
    manifest: Manifest | None
    bytes: int
    written_at: float
    damage: str


class ArrayFacts(NamedTuple):
    """Dtype (safetensors' name), shape and size of one array."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def open_store(folder: Path) -> CheckpointStore:
    """Open an existing folder of checkpoints for reading.

    Raises
    ------
    CheckpointError
        There is no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}; trainer.checkpoint_dir names the folder of checkpoints")
    return CheckpointStore(folder, kept=1)


def find_checkpoint(store: CheckpointStore, name: str | None) -> str:
    """Find a checkpoint by its name or number; without one, the newest.

    Raises
    ------
    CheckpointError
        There is none, or none of that name.
    """
    names = store.names()
    if not names:
        raise CheckpointError(f"there is no checkpoint in {store.folder}")
    if name is None:
        return names[-1]
    number = int(name) if name.isdecimal() else None
    matches = [each for each in names if name == each or number == int(each.rpartition("-")[2])]
    if not matches:
        raise CheckpointError(f"there is no checkpoint {name} in {store.folder}; there are {', '.join(names)}")
    return matches[0]


def list_checkpoints(store: CheckpointStore) -> list[CheckpointSummary]:
    """List the checkpoints, oldest first, without reading their large files."""
    summaries = []
    for name in store.names():
        try:
            summaries.append(_summary(store, name))
        except FileNotFoundError:  # removed meanwhile by a trainer that is running
            continue
    return summaries


def find_damage(store: CheckpointStore, name: str) -> list[str]:
    """Read all files and return what is wrong with them; an empty list for a complete checkpoint."""
    try:
        manifest = store.manifest(name)
    except CheckpointError as error:
        return [str(error)]
    wrong = list(_sizes(store.folder / name, manifest))
    return wrong or list(_sums(store.folder / name, manifest))


def array_facts(store: CheckpointStore, name: str) -> list[ArrayFacts]:
    """Return the facts of the arrays, sorted by name, from the headers of their files; no array is read.

    Those of a table are of the whole table, whatever part of it each file holds.

    Raises
    ------
    CheckpointError
        A file is missing or its header damaged.
    """
    manifest = store.manifest(name)
    found = _facts(store.folder / name / ARRAYS)
    for base in manifest.chain[:1]:
        found += [_of_length(facts, manifest.lengths[facts.name]) for facts in _facts(store.folder / name / base)]
    return sorted(found)


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def _facts(path: Path) -> list[ArrayFacts]:
    try:
        with path.open("rb") as file:  # safetensors: the header's length in 8 bytes, the header as JSON, the arrays
            header = file.read(min(int.from_bytes(file.read(8), "little"), path.stat().st_size))
        found = msgspec.json.decode(header, type=dict[str, _Entry])
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} cannot be read: {error}") from error
    return [
        ArrayFacts(array, entry.dtype, entry.shape, entry.data_offsets[1] - entry.data_offsets[0])
        for array, entry in found.items()
    ]


def _of_length(facts: ArrayFacts, length: int) -> ArrayFacts:
    """Return the facts of the same array with another length."""
    shape = (length, *facts.shape[1:])
    width = int(re.findall(r"\d+", facts.dtype)[0]) // 8 if facts.dtype != "BOOL" else 1
    return ArrayFacts(facts.name, facts.dtype, shape, width * math.prod(shape))


def _summary(store: CheckpointStore, name: str) -> CheckpointSummary:
    folder = store.folder / name
    written_at, size = folder.stat().st_mtime, sum(path.stat().st_size for path in folder.iterdir())
    try:
        manifest = store.manifest(name)
    except CheckpointError as error:
        return CheckpointSummary(name, None, bytes=size, written_at=written_at, damage=str(error))
    wrong = "; ".join(_sizes(folder, manifest))
    return CheckpointSummary(name, manifest, bytes=size, written_at=written_at, damage=wrong)


def _sizes(folder: Path, manifest: Manifest) -> Iterator[str]:
    for file, entry in manifest.files.items():
        path = folder / file
        if not path.is_file():
            yield f"checkpoint {folder}: {file} is missing"
        elif (size := path.stat().st_size) != entry.bytes:
            yield f"checkpoint {folder}: {file} has {size} bytes, its manifest says {entry.bytes}"


def _sums(folder: Path, manifest: Manifest) -> Iterator[str]:
    for file, entry in manifest.files.items():
        try:
            with (folder / file).open("rb") as opened_file:
                found = hashlib.file_digest(opened_file, "sha256").hexdigest()
        except OSError as error:
            yield f"checkpoint {folder}: {file} cannot be read: {error.strerror}"
            continue
        if found != entry.sha256:
            yield f"checkpoint {folder}: {file} is not what its manifest says (SHA-256 differs): restore or remove it"
