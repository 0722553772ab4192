"""Errors of the trainer."""

from __future__ import annotations

from hsnn.monitoring.errors import HsnnError


class CheckpointError(HsnnError):
    """A checkpoint cannot be used; the message says which and why."""


class OwnershipError(HsnnError):
    """Another trainer writes to this Redis or this folder of checkpoints."""

    exit_status = 3  # tells service managers that a restart does not help


class SnapshotDamagedError(HsnnError):
    """A snapshot in Redis cannot be read; the message says why."""


class TokenError(HsnnError):
    """The token for the server of the prequential queries is missing."""


class VectorFileError(HsnnError):
    """Brought vectors, pairs, or an index over them cannot be used; the message says what is wrong with which file."""
