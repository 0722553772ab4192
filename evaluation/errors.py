"""Errors of `evaluation`."""

from __future__ import annotations

from hsnn.monitoring.errors import HsnnError


class NothingMeasuredError(HsnnError):
    """A run ended without a query, so there are no figures."""


class ProtocolError(HsnnError):
    """The requested evaluation is impossible, or two runs cannot be compared; the text says why."""


class MissingPackageError(HsnnError):
    """A package of the extra `evaluation`, which a baseline or the report needs, is not installed."""
