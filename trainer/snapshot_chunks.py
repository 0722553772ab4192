"""Snapshots in Redis: chunks of bounded size, spread over the slots of a cluster, and a small head that lists them.

Whoever writes or reads a snapshot holds one chunk beside the arrays, whatever its size. The head is written last, so
that a snapshot without a head is half a one. Versions copy the head alone and share the chunks, which are removed when
no head names them any more (`hsnn.indexer.store.retention`).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol

import msgspec

from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.errors import SnapshotDamagedError
from hsnn.trainer.messages import Piece, Snapshot, SnapshotManifest

FORMAT = 1
"""Number of the format of heads and chunks; a reader refuses larger ones."""

CHUNK_BYTES = 16 << 20
"""Bytes of a chunk, at most: far below `proto-max-bulk-len`, and Redis serves nobody else for some ms meanwhile."""

# Slots over which the chunks are spread, by the tags of as many shards: enough for the primaries of a usual cluster.
_SLOTS = 16

# Keys removed by one pipeline: Redis frees their memory in another thread.
_KEYS_PER_CALL = 1000

_MANIFEST, _DIRECTORY = b"manifest", b"chunks"


class ChunkDirectory(msgspec.Struct, frozen=True):
    """Bytes and CRC-32 of each chunk, part by part, in the order of their numbers."""

    format: int
    parts: dict[str, list[tuple[int, int]]]

    @property
    def size(self) -> int:
        """Number of chunks."""
        return sum(map(len, self.parts.values()))


class Writable(Protocol):
    """A snapshot that can be written: a `hsnn.trainer.messages.Snapshot`, or an encoder of one."""

    @property
    def manifest(self) -> SnapshotManifest:
        """Manifest of the snapshot."""

    def parts(self) -> Mapping[str, Iterable[Piece]]:
        """Encode part by part, in pieces."""


def chunk_key(snapshot: int, number: int, prefix: str | None = None) -> str:
    """Name a chunk.

    Examples
    --------
    >>> chunk_key(7, 0), chunk_key(7, 17)
    ('hsnn:{0}:chunk:7:0', 'hsnn:{1.73}:chunk:7:17')
    """
    return key("chunk", snapshot, number, shard=number % _SLOTS, prefix=prefix)


def write_snapshot(redis: Redis, snapshot: Writable) -> None:
    """Write a snapshot, which no reader knows before it is announced; its number is the writer's alone."""
    number, count = snapshot.manifest.snapshot, 0
    parts: dict[str, list[tuple[int, int]]] = {}
    for part, pieces in snapshot.parts().items():
        parts[part] = []
        for chunk in rechunked(pieces, CHUNK_BYTES):
            redis.hset(key("chunks"), str(number), str(count + 1))  # first, so that no chunk is ever forgotten
            redis.set(chunk_key(number, count), chunk)
            parts[part].append((len(chunk), zlib.crc32(chunk)))
            count += 1
    directory = msgspec.json.encode(ChunkDirectory(FORMAT, parts))
    fields: dict[Any, Any] = {_MANIFEST: msgspec.json.encode(snapshot.manifest), _DIRECTORY: directory}
    redis.hset(key("snapshot", number), mapping=fields)


def read_snapshot(redis: Redis, head: Mapping[bytes, bytes], prefix: str | None = None) -> Snapshot:
    """Read a snapshot chunk by chunk; `head` is its hash or that of a version, of this layout or the one before.

    `prefix` is as `hsnn.streaming.redis.keys.key` takes it.

    Raises
    ------
    SnapshotDamagedError
        A chunk is missing or damaged, or a newer release has written them.
    """
    if _DIRECTORY not in head:
        return Snapshot.decode(head)
    number = msgspec.json.decode(head[_MANIFEST], type=SnapshotManifest).snapshot
    files: dict[str, BinaryIO] = {}
    first = 0
    for part, chunks in _directory(head).parts.items():
        names = [chunk_key(number, each, prefix) for each in range(first, first + len(chunks))]
        files[part] = io.BufferedReader(_ChunkFile(_chunks(redis, names, chunks)))
        first += len(chunks)
    return Snapshot.from_parts(head[_MANIFEST], files)


def chunk_keys(head: Mapping[bytes, bytes]) -> list[str]:
    """Name the chunks that a head lists; none in the layout before."""
    if _DIRECTORY not in head:
        return []
    number = msgspec.json.decode(head[_MANIFEST], type=SnapshotManifest).snapshot
    return [chunk_key(number, each) for each in range(_directory(head).size)]


def snapshots_with_chunks(redis: Redis) -> list[int]:
    """List the snapshots that may have chunks, whole or half-written."""
    numbers: Any = redis.hkeys(key("chunks"))
    return sorted(map(int, numbers))


def remove_chunks(redis: Redis, snapshot: int) -> None:
    """Remove the chunks of a snapshot that has no head: nothing can come to name them again."""
    stored: Any = redis.hget(key("chunks"), str(snapshot))
    names = [chunk_key(snapshot, number) for number in range(int(stored or 0))]
    for start in range(0, len(names), _KEYS_PER_CALL):
        pipeline = redis.pipeline(transaction=False)
        for name in names[start : start + _KEYS_PER_CALL]:
            pipeline.unlink(name)
        pipeline.execute()
    redis.hdel(key("chunks"), str(snapshot))


def remove_snapshot(redis: Redis, snapshot: int) -> None:
    """Remove a snapshot that was not announced: its head, if there is one, and its chunks."""
    redis.delete(key("snapshot", snapshot))
    remove_chunks(redis, snapshot)


def remove_unannounced(redis: Redis, upto: int) -> None:
    """Remove what trainers that ended while they wrote have left, up to number `upto`: no version is made of that."""
    newest: Any = redis.xrevrange(key("snapshots"), count=1)
    announced = int(newest[0][1][b"n"]) if newest else 0
    for number in snapshots_with_chunks(redis):
        if announced < number <= upto:
            remove_snapshot(redis, number)


def rechunked(pieces: Iterable[Piece], size: int) -> Iterator[bytes]:
    """Join and cut pieces to chunks of `size` bytes, the last one shorter; at least one, which may be empty.

    Examples
    --------
    >>> list(rechunked([b"ab", b"cdefg", b"h"], 3)), list(rechunked([], 3))
    ([b'abc', b'def', b'gh'], [b''])
    """
    waiting: list[memoryview] = []
    room, first = size, True
    for piece in pieces:
        left = memoryview(piece).cast("B")
        while len(left) >= room:
            yield b"".join([*waiting, left[:room]])
            left, waiting, room, first = left[room:], [], size, False
        waiting.append(left)
        room -= len(left)
    if room < size or first:
        yield b"".join(waiting)


def _directory(head: Mapping[bytes, bytes]) -> ChunkDirectory:
    directory = msgspec.json.decode(head[_DIRECTORY], type=ChunkDirectory)
    if directory.format > FORMAT:
        raise SnapshotDamagedError(
            f"the chunks of the snapshot have format {directory.format}, and this release reads up to {FORMAT}: a "
            "newer release has written them; upgrade this process, too"
        )
    return directory


def _chunks(redis: Redis, names: Iterable[str], expected: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """Load chunks, one after the other."""
    for name, (size, checksum) in zip(names, expected, strict=True):
        chunk: Any = redis.get(name)
        if chunk is None or len(chunk) != size or zlib.crc32(chunk) != checksum:
            state = "is missing" if chunk is None else "is damaged"
            raise SnapshotDamagedError(f"{name} {state}, so its snapshot cannot be read; the next one can")
        yield chunk


class _ChunkFile(io.RawIOBase):
    """Chunks as a file that is read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of a chunk; 0 behind the last one."""
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
