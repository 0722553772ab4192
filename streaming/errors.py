"""Everything that can go wrong with a log, under one root."""

from __future__ import annotations


class StreamingError(Exception):
    """Root of the errors of `streaming`; messages say what, where and what to do."""


class LogUrlError(StreamingError, ValueError):
    """The address of a log or one of its options is not usable."""


class LogUnavailableError(StreamingError):
    """The log's server does not answer, refuses the login, or lost the connection."""


class UnknownTopicError(StreamingError):
    """The topic does not exist in this log."""


class OutOfRangeError(StreamingError):
    """A position points to where the log holds nothing: before its oldest record (retention), or beyond its end."""


class DeadLetterFloodError(StreamingError):
    """So many events cannot be read or believed that something is wrong with all of them."""


class AppendError(StreamingError):
    """Records could not be written, so the log does not hold what the caller believes it holds."""


class StateError(StreamingError, ValueError):
    """A consumer's saved state does not fit this consumer."""
