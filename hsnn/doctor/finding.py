"""Findings of the checks."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """The result of a check.

    Attributes
    ----------
    name
        What was checked.
    state
        ``ok``, ``warn`` (works, but slowly or not for long) or ``fail``.
    text
        The result in words, and what to do about it.
    """

    name: str
    state: State
    text: str
