"""Warm-up: requests before readiness, so that no client waits for lazy initialisation."""

from __future__ import annotations

import logging

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request, RetrievalMode
from hsnn.serving.search.retrieval import retrieve

_log = logging.getLogger(__name__)

# Users whose requests are answered: enough to fill the caches, few enough to take well under a second.
_USERS = 16


def warm_up(mirror: Mirror) -> None:
    """Answer requests of some mirrored users and of an unknown one in every mode, one by one and as a batch."""
    with mirror.reading():
        modes = [
            mode
            for mode in RetrievalMode
            if mode is not RetrievalMode.EXACT or mirror.state.index.scorer.has_dot_product_scores
        ]
        # As the server answers: the first requests compile the engine's kernels, or load them from disk.
        limits = RetrievalLimits(whole_leaves=mirror.state.index.engine is not None)
        engine = mirror.state.index.engine
        if engine is not None and engine.towers is None:
            _log.info(
                "the towers of this model run in NumPy: the engine's kernels know plain ones that end in a dot product"
            )
        users = [name for name in mirror.state.users.ids.ids[:_USERS] if name] + ["nobody"]
    requests = [Request(user=user, mode=mode) for user in users for mode in modes]
    requests.append(Request(user="nobody", filters=Filters(items=["nothing"])))  # another kernel than without a filter
    for request in requests:
        retrieve(mirror, [request], limits)
    retrieve(mirror, requests, limits)
    with mirror.reading():
        mirror.state.without_caches()  # modes that search every item fill them again, if they are asked for
    mirror.warm = True
