"""How large an answer is, and how much work may go into it."""

from __future__ import annotations

from typing import NamedTuple


class RetrievalLimits(NamedTuple):
    """Sizes of a retrieval; None is the model's own."""

    k: int = 20
    max_k: int = 1000
    beam: int | None = None
    budget: int | None = None
