"""Errors of the index in Redis."""

from __future__ import annotations

from hsnn.monitoring.errors import HsnnError


class IndexingError(HsnnError):
    """Base of the errors of this package."""


class VersionNotFoundError(IndexingError):
    """A version does not exist, or not any more: read the pointer again."""


class FencedError(IndexingError):
    """The writer's lease is not valid any more, so another process may lead; nothing was written."""


class VersionChangedError(IndexingError):
    """The version to be replaced, or the pointer, changed since it was read: catch up and flip again."""


class RollbackError(IndexingError):
    """The version cannot be rolled back to."""


class SnapshotNotFoundError(IndexingError):
    """A snapshot does not exist, or not any more."""


class ShutdownError(IndexingError):
    """The process is about to end; unfinished work is left to the next run."""


class JobTimeoutError(IndexingError):
    """A job stopped at a safe point because its time was over."""


class PublishHeldError(IndexingError):
    """Publishing is held: readers stay with the version they have."""


class VersionRefusedError(IndexingError):
    """A version is damaged or clearly worse than the one in use: readers stay with that."""


class UnknownJobError(IndexingError):
    """A request names a job that does not exist."""


class ExportError(IndexingError):
    """An export cannot be written or read."""


class VersionInUseError(IndexingError):
    """A version was to be removed that readers use."""
