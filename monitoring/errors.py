"""The root of the errors that the project raises on purpose."""

from __future__ import annotations


class HsnnError(Exception):
    """Something a person can act on: its text says what went wrong, where, and what to do."""
