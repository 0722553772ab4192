"""Checkpoints: folders that are whole or absent.

A checkpoint is written aside, fsynced, and renamed; its manifest is written last and holds the size and the SHA-256 of
every file. Arrays are safetensors, plain values msgpack; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from monitoring.phases import reached
from trainer.arrays import Array, pack, unpack
from trainer.errors import CheckpointError

_log = logging.getLogger(__name__)
MANIFEST, ARRAYS, VALUES = "manifest.json", "arrays.safetensors", "values.msgpack"
"""The files of a checkpoint."""

_PREFIX = "checkpoint-"
_ASIDE = ".writing-"


class FileEntry(msgspec.Struct, frozen=True):
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint holds, how the model that it holds is shaped, and why it was not handed out, if so."""

    events: int
    watermark: int
    model: dict[str, Any]
    config_digest: str
    threads: int
    files: dict[str, FileEntry]
    held: str = ""
    seal: str = ""

    def sealed(self) -> Manifest:
        """Return the same manifest with its own SHA-256 in it, taken while `seal` is empty."""
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
        How many are kept; a new one removes the oldest beyond that.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder, self._kept = folder, kept
        folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Names of all checkpoints, oldest first."""
        return sorted((path.name for path in self.folder.glob(f"{_PREFIX}*") if _is_name(path.name)), key=_number)

    def write(self, arrays: Mapping[str, Array], values: Mapping[str, Any], **manifest: Any) -> str:
        """Write a checkpoint; when this returns its name, it is durable.

        `manifest` holds the fields of `Manifest` other than ``files``.
        """
        names = self.names()
        name = f"{_PREFIX}{_number(names[-1]) + 1 if names else 1:08d}"
        for leftover in self.folder.glob(f"{_ASIDE}*"):  # of a writer that was killed; a folder has one at a time
            shutil.rmtree(leftover)
        aside = self.folder / f"{_ASIDE}{name}"
        aside.mkdir()
        blobs = {ARRAYS: pack(arrays), VALUES: msgspec.msgpack.encode(dict(values))}
        for file, blob in blobs.items():
            _write(aside / file, blob)
        entries = {file: FileEntry(len(blob), hashlib.sha256(blob).hexdigest()) for file, blob in blobs.items()}
        sealed = Manifest(files=entries, **manifest).sealed()
        _write(aside / MANIFEST, msgspec.json.format(msgspec.json.encode(sealed)))
        _sync_folder(aside)
        reached("rename")
        aside.rename(self.folder / name)
        reached("rename")
        _sync_folder(self.folder)
        for old in self.names()[: -self._kept]:
            leaving = (self.folder / old).rename(self.folder / f"{_ASIDE}{old}")  # nobody sees one half removed
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
        return Checkpoint(name, manifest, arrays, self.values(name, manifest))

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


def _write(path: Path, blob: bytes) -> None:
    with path.open("wb") as file:
        reached("write")
        file.write(blob)
        reached("write")
        file.flush()
        reached("fsync")
        os.fsync(file.fileno())
        reached("fsync")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
