"""Export of a version for other programs: plain arrays in one file, a JSON manifest beside it, nothing pickled."""

from __future__ import annotations

import hashlib
import io
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.errors import ExportError
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import VersionManifest
from hsnn.trainer.rowstore.arrays import Array, grown, pack, unpack

# Endings of file names, which choose the format.
FORMATS = (".npz", ".safetensors")


class VersionExport(NamedTuple):
    """The indexed items of a version, in the order of the trainer's rows.

    Attributes
    ----------
    ids : (n,) strings
    nodes : (n,) int32
    vectors : (n, d+1) float32
        Static vectors; last column = item bias.
    representatives : (K,) int32
        Index in `ids` of each node's representative item; -1 = none, or it is not indexed any more.
    """

    ids: list[str]
    nodes: NDArray[np.int32]
    vectors: NDArray[np.float32]
    representatives: NDArray[np.int32]

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of the file; ids as concatenated UTF-8 (bytes,) uint8, and where each ends (n,) int64."""
        encoded = [name.encode() for name in self.ids]
        ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)  # (n,)
        return {
            "ids": np.frombuffer(b"".join(encoded), np.uint8),
            "id_ends": ends,
            "nodes": self.nodes,
            "vectors": self.vectors,
            "representatives": self.representatives,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> VersionExport:
        """Read what `arrays` returned.

        Examples
        --------
        >>> none = np.zeros((0, 3), np.float32), np.zeros(0, np.int32)
        >>> made = VersionExport(["a", "Ü", ""], np.zeros(3, np.int32), *none)
        >>> VersionExport.from_arrays(made.arrays()).ids
        ['a', 'Ü', '']
        """
        text, ends = arrays["ids"].tobytes(), arrays["id_ends"].tolist()
        ids = [text[start:end].decode() for start, end in pairwise([0, *ends])]
        return cls(ids, arrays["nodes"], arrays["vectors"], arrays["representatives"])


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The file beside an export: its name, SHA-256 and arrays; what was exported when (epoch ms), up to which delta."""

    file: str
    sha256: str
    exported_at: int
    items: int
    last_delta: str
    arrays: dict[str, tuple[str, list[int]]]
    version: VersionManifest


def export_version(reader: IndexReader, number: int) -> tuple[VersionExport, VersionManifest, str]:
    """Collect a version as its readers see it now, base and deltas; with its manifest and the last delta's position.

    Raises
    ------
    VersionNotFoundError
        There is no such version.
    """
    version = reader.load_version(number)
    nodes, vectors, last = version.index.nodes, version.index.vectors, reader.last_delta_id(number)
    ids = dict(enumerate(version.snapshot.item_ids))
    for entry in reader.delta_entries(number, upto=last):
        delta = Delta.decode(entry.fields[b"d"])
        if delta.op == "superseded":
            continue
        nodes, vectors = grown(nodes, delta.row + 1, -1), grown(vectors, delta.row + 1)
        nodes[delta.row], ids[delta.row] = delta.node, delta.item
        if delta.vector is not None:
            vectors[delta.row] = delta.vector
    rows = np.flatnonzero(nodes >= 0)  # (n,)
    index = np.full(len(nodes) + 1, -1, np.int32)  # by row; the last one stands for row -1
    index[rows] = np.arange(len(rows))
    return (
        VersionExport(
            [ids[row] for row in rows.tolist()], nodes[rows], vectors[rows], index[version.index.representatives]
        ),
        version.manifest,
        last,
    )


def write_export(reader: IndexReader, number: int, file: Path) -> ExportManifest:
    """Write a version to `file` (.npz or .safetensors) and its manifest to ``FILE.json``; never over existing files.

    Raises
    ------
    ExportError
        The file cannot be written.
    VersionNotFoundError
        There is no such version.
    """
    manifest_path = manifest_file(file)
    if file.suffix not in FORMATS:
        raise ExportError(f"{file}: the name must end with {' or '.join(FORMATS)}, which says how it is written")
    if existing := [path for path in (file, manifest_path) if path.exists()]:
        raise ExportError(f"{existing[0]} exists already; name another file or remove it first")
    export, version, last = export_version(reader, number)
    arrays = export.arrays()
    blob = _npz(arrays) if file.suffix == ".npz" else pack(arrays)
    manifest = ExportManifest(
        file=file.name,
        sha256=hashlib.sha256(blob).hexdigest(),
        exported_at=time.time_ns() // 1_000_000,
        items=len(export.ids),
        last_delta=last,
        version=version,
        arrays={name: (str(array.dtype), list(array.shape)) for name, array in arrays.items()},
    )
    try:
        _write(file, blob)
        _write(manifest_path, msgspec.json.format(msgspec.json.encode(manifest)))
    except OSError as error:
        raise ExportError(f"cannot write {file}: {error.strerror}; name a folder that exists and has room") from error
    return manifest


def read_export(file: Path) -> tuple[VersionExport, ExportManifest]:
    """Read what `write_export` wrote; check that the file is the one that its manifest describes.

    Raises
    ------
    ExportError
        A file is missing or damaged.
    """
    try:
        blob = file.read_bytes()
        manifest = msgspec.json.decode(manifest_file(file).read_bytes(), type=ExportManifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise ExportError(f"{file} cannot be read as an export: {error}; export the version again") from error
    if hashlib.sha256(blob).hexdigest() != manifest.sha256:
        raise ExportError(
            f"{file} is not what {manifest_file(file).name} describes (SHA-256); export the version again"
        )
    return VersionExport.from_arrays(_from_npz(blob) if file.suffix == ".npz" else unpack(blob)), manifest


def manifest_file(file: Path) -> Path:
    """Return the path of an export's manifest.

    Examples
    --------
    >>> manifest_file(Path("index.npz")).name
    'index.npz.json'
    """
    return file.with_name(file.name + ".json")


def _npz(arrays: dict[str, Array]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _from_npz(blob: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
        return dict(arrays)


def _write(path: Path, blob: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(blob)
    os.replace(unfinished, path)  # the file is whole or not there
