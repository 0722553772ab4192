"""Errors of `streaming`."""

from __future__ import annotations


class StreamingError(Exception):
    """Base class of the errors of `streaming`; messages say what failed, where, and what to do."""


class LogUrlError(StreamingError, ValueError):
    """The address of a log or one of its options is not usable."""


class LogUnavailableError(StreamingError):
    """The log's server does not answer, or lost the connection; a later attempt may succeed."""


class LogRefusedError(StreamingError):
    """The log's server or its client refuses in a way that no later attempt mends: a login, a right, a codec."""


class UnknownTopicError(StreamingError):
    """The topic does not exist in this log."""


class OutOfRangeError(StreamingError):
    """The log has no record at a position: it is before the oldest record (retention), or beyond the end."""


class DeadLetterFloodError(StreamingError):
    """So large a share of the events are dead letters that something must be wrong with all of them."""


class AppendError(StreamingError):
    """Records could not be written; the log does not hold what was appended."""


class AppendRefusedError(AppendError):
    """The log's server refuses records in a way that no later attempt mends: too large, no room, a missing right."""


class UnreadableBatchError(StreamingError):
    """A compressed batch of records unpacks to too much, or is damaged."""


class StateError(StreamingError, ValueError):
    """A consumer's saved state does not fit this consumer."""


class EditingError(StreamingError):
    """A edited dead letter cannot be sent as it stands; the text names the line."""


class LayoutError(StreamingError):
    """The keys in Redis were written by a release whose layout is another."""
