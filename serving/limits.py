"""Limits of a retrieval: items per answer, and work per request."""

from __future__ import annotations

from typing import NamedTuple


class RetrievalLimits(NamedTuple):
    """Limits of a retrieval.

    Attributes
    ----------
    k : items per answer where the request has no `k`
    max_k : items per answer, at most
    beam : nodes opened; None: as the model was trained
    budget : items scored, at most; None: as the model was trained
    """

    k: int = 20
    max_k: int = 1000
    beam: int | None = None
    budget: int | None = None
