"""Printable previews of untrusted bytes."""

from __future__ import annotations


def preview(value: bytes | None, max_bytes: int) -> str:
    r"""Show the first `max_bytes` bytes on one line, with everything that is not printable text escaped.

    Examples
    --------
    >>> preview(b'{"id": 1}', 100)
    '{"id": 1}'
    >>> preview(b"\x1b[2Jcaf\xc3\xa9\xff", 100)
    '\\x1b[2Jcafé\\xff'
    >>> preview(b"abcdef", 4), preview(None, 4)
    ('abcd... (6 bytes)', '(none)')
    """
    if value is None:
        return "(none)"
    # A character that is split by the cut shows as escaped bytes.
    text = value[:max_bytes].decode(errors="backslashreplace")
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return safe if len(value) <= max_bytes else f"{safe}... ({len(value):,} bytes)"
