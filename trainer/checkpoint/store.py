"""The checkpoint store: folders that are whole or absent.

A checkpoint is written under another name, fsynced, and renamed; its manifest is written last and holds the size and
the SHA-256 of every file. Arrays are safetensors, plain values msgpack; nothing is ever unpickled. Large tables may be
a chain of files (`hsnn.trainer.checkpoint.incremental`).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hsnn.monitoring.process.failpoints import failpoint
from hsnn.trainer.checkpoint.atomic_file import FileEntry, sync_folder, write_new
from hsnn.trainer.checkpoint.incremental import FileChain, write_rows
from hsnn.trainer.checkpoint.msgpack_writer import encode_pieces
from hsnn.trainer.checkpoint.renamed_parts import FORMAT, converted
from hsnn.trainer.checkpoint.row_delta import TableRows, assemble
from hsnn.trainer.checkpoint.safetensors_writer import Column, file_pieces
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.rowstore.arrays import Array, unpack

_log = logging.getLogger(__name__)
MANIFEST, ARRAYS, VALUES = "manifest.json", "arrays.safetensors", "values.msgpack"
"""The files of a checkpoint."""

# Folders of whole checkpoints, and of those being written or removed; both in the folder of the store.
_PREFIX = "checkpoint-"
_ASIDE = ".writing-"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint holds, the shape of its model, and why its snapshot was not published, if so (`held`).

    `chain` names the files of its tables in order, `lengths` says how long each of their arrays is. `format` counts the
    changes of the names of arrays and values (`hsnn.trainer.checkpoint.renamed_parts`).
    """

    events: int
    watermark: int
    model: dict[str, Any]
    config_digest: str
    threads: int
    files: dict[str, FileEntry]
    chain: tuple[str, ...] = ()
    lengths: dict[str, int] = {}
    held: str = ""
    seal: str = ""
    format: int | msgspec.UnsetType = msgspec.UNSET  # unset in checkpoints of format 1: their seals do not cover it

    def sealed(self) -> Manifest:
        """Return the same manifest with its own SHA-256 in `seal`, computed while that is empty."""
        plain = msgspec.structs.replace(self, seal="")
        return msgspec.structs.replace(plain, seal=hashlib.sha256(msgspec.json.encode(plain)).hexdigest())


class Checkpoint(NamedTuple):
    """A checkpoint in memory."""

    name: str
    manifest: Manifest
    arrays: dict[str, Array]
    values: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one folder, newest last. Any number of processes may read it, one may write.

    Parameters
    ----------
    folder
        Made if absent.
    kept
        How many are kept; a new one removes the oldest beyond that. If all of these share their whole tables, the
        newest one that has others is kept beside them: one damaged file must not spoil all there is.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder, self._kept = folder, kept
        folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Names of all checkpoints, oldest first."""
        return sorted((path.name for path in self.folder.glob(f"{_PREFIX}*") if _is_name(path.name)), key=_number)

    def write(
        self, arrays: Mapping[str, Array], values: Mapping[str, Any], rows: TableRows | None = None, **manifest: Any
    ) -> str:
        """Write a checkpoint; when this returns its name, it is durable.

        `arrays` are written whole, tables as `rows`; `manifest` holds the fields of `Manifest` that say what it is.
        """
        names = self.names()
        number = _number(names[-1]) + 1 if names else 1
        name = f"{_PREFIX}{number:08d}"
        for leftover in self.folder.glob(f"{_ASIDE}*"):  # of a writer that was killed; a folder has one at a time
            shutil.rmtree(leftover)
        aside = self.folder / f"{_ASIDE}{name}"
        try:
            aside.mkdir()
            entries: dict[str, FileEntry] = {}
            lengths, chain = dict[str, int](), FileChain()
            if rows is not None:
                lengths = rows.lengths()
                known = self._chain(rows.since, lengths) if rows.since else FileChain()
                chain = write_rows(self.folder / rows.since, known, aside=aside, rows=rows, number=number)
            columns = {name: Column.from_array(array) for name, array in arrays.items()}
            entries[ARRAYS] = write_new(aside / ARRAYS, file_pieces(columns))
            entries[VALUES] = write_new(aside / VALUES, encode_pieces(values))
            made = Manifest(
                files=entries | chain.files, chain=chain.names, lengths=lengths, format=FORMAT, **manifest
            ).sealed()
            write_new(aside / MANIFEST, [msgspec.json.format(msgspec.json.encode(made))])
            sync_folder(aside)
            failpoint("rename")
            aside.rename(self.folder / name)
            failpoint("rename")
            sync_folder(self.folder)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)  # half a checkpoint must not keep a full disk full
            raise
        for old in self._expired():
            leaving = (self.folder / old).rename(self.folder / f"{_ASIDE}{old}")  # hidden before it is removed
            shutil.rmtree(leaving)
        return name

    def newest(self) -> Checkpoint | None:
        """Read the newest whole checkpoint; damaged ones are named in the log and passed over. None if there is none.

        Raises
        ------
        CheckpointError
            There are checkpoints, but every one is damaged.
        """
        names = self.names()
        for name in reversed(names):
            try:
                return self.read(name)
            except CheckpointError as error:
                _log.error("%s; going back to the one before", error)
        if names:
            raise CheckpointError(
                f"every checkpoint in {self.folder} is damaged; remove the folder to start from nothing"
            )
        return None

    def read(self, name: str) -> Checkpoint:
        """Read one checkpoint and verify it.

        Raises
        ------
        CheckpointError
            A file is missing, cut short or altered.
        """
        manifest = self.manifest(name)
        arrays = unpack(self._blob(name, ARRAYS, manifest))
        if manifest.chain:
            arrays |= assemble(unpack(self._blob(name, file, manifest)) for file in manifest.chain)
        return Checkpoint(name, manifest, *converted(arrays, self.values(name, manifest), manifest.format or 1))

    def manifest(self, name: str) -> Manifest:
        """Read the manifest alone and check its seal.

        Raises
        ------
        CheckpointError
            It is missing, cut short or altered.
        """
        folder = self.folder / name
        try:
            manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
            raise CheckpointError(f"checkpoint {folder} is not whole: {error}") from error
        if manifest != manifest.sealed():
            raise CheckpointError(f"checkpoint {folder}: {MANIFEST} was altered (its seal does not fit)")
        return manifest

    def values(self, name: str, manifest: Manifest) -> dict[str, Any]:
        """Read and verify the plain values alone.

        Raises
        ------
        CheckpointError
            Their file is missing, cut short or altered.
        """
        values: dict[str, Any] = msgspec.msgpack.decode(self._blob(name, VALUES, manifest))
        return values

    def _chain(self, name: str, arrays: Collection[str]) -> FileChain:
        """Return the files of a checkpoint's tables; none if they hold other arrays, or it cannot be read."""
        try:
            manifest = self.manifest(name)
        except CheckpointError as error:
            _log.error("%s; writing all tables whole", error)
            return FileChain()
        if manifest.lengths.keys() != set(arrays):
            return FileChain()
        return FileChain(manifest.chain, {file: manifest.files[file] for file in manifest.chain})

    def _expired(self) -> list[str]:
        """Return the names of those to be removed, oldest first."""
        names = self.names()
        old, kept = names[: -self._kept], names[-self._kept :]
        bases = {self._base(name) for name in kept}
        if bases != {self._base(kept[-1])} or not old:
            return old
        others = [name for name in old if self._base(name) not in bases]
        return [name for name in old if name not in others[-1:]]

    def _base(self, name: str) -> str:
        """Return the name of the file of whole tables; that of the checkpoint if it shares none."""
        try:
            return next(iter(self.manifest(name).chain), name)
        except CheckpointError:
            return name

    def _blob(self, name: str, file: str, manifest: Manifest) -> bytes:
        folder = self.folder / name
        try:
            blob = (folder / file).read_bytes()
        except OSError as error:
            raise CheckpointError(f"checkpoint {folder} is not whole: {error}") from error
        if hashlib.sha256(blob).hexdigest() != manifest.files[file].sha256:
            raise CheckpointError(f"checkpoint {folder}: {file} is not what its manifest says (SHA-256 differs)")
        return blob


def _number(name: str) -> int:
    return int(name.removeprefix(_PREFIX))


def _is_name(name: str) -> bool:
    return name.removeprefix(_PREFIX).isdecimal()
