"""Bytes that anybody may have sent, as text that is safe to print."""

from __future__ import annotations


def preview(value: bytes | None, longest: int) -> str:
    r"""Show the beginning of some bytes on one line; what is no printable text is escaped.

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
    # a character that the cut splits shows as escaped bytes
    text = value[:longest].decode(errors="backslashreplace")
    safe = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return safe if len(value) <= longest else f"{safe}... ({len(value):,} bytes)"
