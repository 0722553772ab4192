"""Columns of many interactions that came in one record, and how such a record begins. Needs no pyarrow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STREAM_MAGIC = b"\xff\xff\xff\xff"
"""First bytes of an Arrow IPC stream."""

# Those of an Arrow file.
_FILE_MAGIC = b"ARROW1"


class ArrowError(ValueError):
    """The bytes are no Arrow record of interactions."""


@dataclass(frozen=True, slots=True)
class InteractionColumns:
    """Columns of records that have `lengths` rows each.

    `rejected` maps unusable rows to the reason; `left_out` (field, row) of fields that are not understood.
    """

    lengths: NDArray[np.int64]
    ts: NDArray[np.int64]
    user: NDArray[np.object_]
    item: NDArray[np.object_]
    action: NDArray[np.object_]
    value: NDArray[np.float32]
    context: NDArray[np.object_] | None
    id: NDArray[np.object_] | None
    impression: NDArray[np.object_] | None
    rejected: dict[int, str]
    left_out: dict[tuple[str, int], str]


def is_arrow(value: bytes) -> bool:
    """Return whether the bytes start like an Arrow IPC stream or file."""
    return value[:4] == STREAM_MAGIC or value[:6] == _FILE_MAGIC
