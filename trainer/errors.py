"""What can go wrong in `trainer`."""

from __future__ import annotations

from hsnn.monitoring.errors import HsnnError


class CheckpointError(HsnnError):
    """A checkpoint cannot be used; the text says which and why."""


class TokenError(HsnnError):
    """The token for the server that is asked prequential queries is missing."""
