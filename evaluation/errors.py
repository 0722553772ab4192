"""What can go wrong in `evaluation`."""

from __future__ import annotations

from monitoring.errors import HsnnError


class NothingMeasuredError(HsnnError):
    """A run ended without a single query, so there are no figures."""
