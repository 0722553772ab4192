"""Real requests before the first one that counts, so that nobody waits for lazy initialisation."""

from __future__ import annotations

from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import MODES, Request
from hsnn.serving.search.beam import retrieve

_USERS = 16


def warm_up(mirror: Mirror) -> None:
    """Answer a few mirrored users, and one that nobody knows, in every mode there is, alone and together."""
    with mirror.lock:
        modes = [mode for mode in MODES if mode != "exact" or mirror.state.index.scorer.boundable]
        users = [name for name in mirror.state.users.ids.ids[:_USERS] if name] + ["nobody"]
    requests = [Request(user=user, mode=mode) for user in users for mode in modes]
    for request in requests:
        retrieve(mirror, [request])
    retrieve(mirror, requests)
