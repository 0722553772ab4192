"""Reasons for which an event becomes a dead letter: the codes in headers, metrics and `hsnn dlq`."""

from __future__ import annotations

from enum import StrEnum


class DeadLetterReason(StrEnum):
    """Why an event became a dead letter."""

    MALFORMED = "malformed"
    """The value is no JSON."""

    BAD_TEXT = "bad_text"
    """The value is no UTF-8."""

    TOO_DEEP = "too_deep"
    """The JSON value is nested too deeply."""

    TOO_LARGE = "too_large"
    """The event has too many bytes."""

    UNKNOWN_TYPE = "unknown_type"
    """The event has a type that does not exist."""

    INVALID = "invalid"
    """A field is missing, of a wrong type or out of range."""

    WRONG_TOPIC = "wrong_topic"
    """The event's type belongs into another topic."""

    EMPTY = "empty"
    """The record has no value, in a topic whose records cannot be deleted."""

    NO_KEY = "no_key"
    """The record deletes what its key names, and the key is missing or no id."""

    ARROW = "arrow"
    """The record starts like Arrow data and cannot be read."""

    UNREADABLE = "unreadable"
    """A compressed batch of records that unpacks to too much, or is damaged."""

    FATAL = "fatal"
    """The process ended in three starts in a row while it decoded the record."""

    FAR_FUTURE = "far_future"
    """The event is more than `streaming.max_future` ahead of the moment at which it was sent."""

    FAR_PAST = "far_past"
    """The event is more than `streaming.max_past` behind the watermark."""
