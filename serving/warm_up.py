"""Real requests before the first one that counts, so that nobody waits for lazy initialisation."""

from __future__ import annotations

from serving.mirror import Mirror
from serving.request import MODES, Request
from serving.retrieval import retrieve

_USERS = 16


def warm_up(mirror: Mirror) -> None:
    """Answer a few mirrored users, and one that nobody knows, in every mode, alone and together."""
    with mirror.lock:
        users = [name for name in mirror.world.people.ids.ids[:_USERS] if name] + ["nobody"]
    requests = [Request(user=user, mode=mode) for user in users for mode in MODES]
    for request in requests:
        retrieve(mirror, [request])
    retrieve(mirror, requests)
