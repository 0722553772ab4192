"""What can go wrong with the index in Redis."""

from __future__ import annotations

from hsnn.monitoring.errors import HsnnError


class IndexingError(HsnnError):
    """Base of the errors of this room."""


class VersionNotFoundError(IndexingError):
    """A version was asked for that does not exist, or no longer does: look at the pointer again."""


class FencedError(IndexingError):
    """The writer's lease is not valid any more: somebody else may lead; nothing was written."""


class VersionChangedError(IndexingError):
    """The version to be replaced, or the pointer, changed since the builder looked: catch up and flip again."""


class RollbackError(IndexingError):
    """The version cannot be rolled back to."""


class SnapshotNotFoundError(IndexingError):
    """A snapshot is not there, or no longer."""


class ShutdownError(IndexingError):
    """The process ends; what was begun is left for the next run."""


class JobTimeoutError(IndexingError):
    """A job stopped itself at a safe point because its time was over."""


class PublishHeldError(IndexingError):
    """Publishing is held by a person: readers stay with the version they have."""


class UnknownJobError(IndexingError):
    """A request about a job that cannot be carried out."""


class ExportError(IndexingError):
    """An export cannot be written or read."""


class VersionInUseError(IndexingError):
    """What was to be removed is what readers use now."""
