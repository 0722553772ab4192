"""JSON arrays: several events of one partition in one record, each in the bytes in which it was sent."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_decoder: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


def join_events(events: Sequence[bytes]) -> bytes:
    """Join JSON values to one array, which `split_events` takes apart.

    Examples
    --------
    >>> join_events([b'{"id": 1}', b"2"])
    b'[{"id": 1},2]'
    """
    return b"[" + b",".join(events) + b"]"


def is_array(value: bytes) -> bool:
    """Return whether the bytes begin like an array."""
    return value.lstrip()[:1] == b"["


def split_events(value: bytes) -> list[bytes] | None:
    """Return the values of an array; None for whatever is no JSON array, and for an empty one.

    Examples
    --------
    >>> split_events(b'[{"id": 1}, 2]'), split_events(b'{"id": 1}'), split_events(b"[]"), split_events(b"[1,")
    ([b'{"id": 1}', b'2'], None, None, None)
    """
    if not is_array(value):
        return None
    try:
        return [bytes(event) for event in _decoder.decode(value)] or None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
