"""Digest of everything that training depends on, to compare two runs.

The digest is the SHA-256 of one line per array and value, sorted by name; each line has the SHA-256 of its content, so
two digests can be compared line by line. Arrays count as little-endian bytes in C order with dtype and shape, values as
msgpack with sorted keys. Values that depend on the wall clock are left out. So is the manifest, which
repeats the values and names files, threads and a configuration with addresses and folders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from hsnn.trainer.rowstore.arrays import Array

LEFT_OUT = {
    "consumer.sent_at": "when its producer sent the newest delivered record",
    "drift.signals.clocks": "signals of the times at which producers sent their records",
}
"""Wall-clock values of a checkpoint, and what they are; training does not depend on them."""


def digest(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> str:
    """Digest a checkpoint's arrays and values: the SHA-256, in hexadecimal, of the lines of `parts`.

    Examples
    --------
    >>> import numpy as np
    >>> first = digest({"a": np.arange(3)}, {"consumer": {"sent_at": 5, "places": [1]}})
    >>> first == digest({"a": np.arange(3)}, {"consumer": {"places": [1], "sent_at": 6}})
    True
    >>> first == digest({"a": np.arange(3)}, {"consumer": {"places": [2], "sent_at": 5}})
    False
    """
    return hashlib.sha256("".join(f"{line}\n" for line in parts(arrays, values)).encode()).hexdigest()


def parts(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> list[str]:
    """Return the lines ``array NAME DTYPE[SHAPE] SHA256``, then ``value NAME SHA256``, each sorted by name.

    Examples
    --------
    >>> import numpy as np
    >>> [line[:29] for line in parts({"b": np.zeros((2, 3), np.float32)}, {"learner": {"steps": 7}})]
    ['array b <f4[2,3] 9d908ecfb6b2', 'value learner.steps ca358758f']
    """
    lines = [f"array {name} {_kind(array)} {_sha256(_bytes(array))}" for name, array in sorted(arrays.items())]
    encoded = {name: msgspec.msgpack.encode(value, order="sorted") for name, value in _named(values)}
    lines += [f"value {name} {_sha256(blob)}" for name, blob in sorted(encoded.items()) if name not in LEFT_OUT]
    return lines


def _named(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Flatten values by one level: names become ``PART.NAME``."""
    for part, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{part}.{name}", inner) for name, inner in value.items())
        else:
            yield part, value


def _kind(array: Array) -> str:
    shape = ",".join(map(str, array.shape))
    return f"{array.dtype.newbyteorder('<').str}[{shape}]"


def _bytes(array: Array) -> memoryview | bytes:
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return little.data.cast("B") if little.size and little.ndim else little.tobytes()


def _sha256(blob: memoryview | bytes) -> str:
    return hashlib.sha256(blob).hexdigest()
