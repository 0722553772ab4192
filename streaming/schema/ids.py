"""Canonical ids: text, whether the producer wrote text or a whole number."""

from __future__ import annotations

MAX_ID = 256
"""Longest id, in characters."""


def canonical_id(value: str | int) -> str:
    """Return the canonical form of an id: text stays as it is, a whole number becomes its decimal text.

    Raises
    ------
    ValueError
        The id is empty or longer than `MAX_ID`.

    Examples
    --------
    >>> canonical_id(7), canonical_id("7"), canonical_id("a b")
    ('7', '7', 'a b')
    """
    if isinstance(value, str):
        text = value
    elif abs(value) < 10**MAX_ID:
        text = str(value)
    else:
        raise ValueError(f"an id has more than {MAX_ID} digits; shorten it at the producer")
    if not 0 < len(text) <= MAX_ID:
        raise ValueError(f"an id has {len(text)} characters; between 1 and {MAX_ID} are allowed")
    return text
