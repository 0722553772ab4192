"""What can go wrong in `evaluation`."""

from __future__ import annotations

from hsnn.monitoring.errors import HsnnError


class NothingMeasuredError(HsnnError):
    """A run ended without a single query, so there are no figures."""


class ProtocolError(HsnnError):
    """What was asked for cannot be measured, or two runs cannot be compared; the text says why."""


class MissingPackageError(HsnnError):
    """A baseline or the report needs a package of the extra `evaluation` that is not installed."""
