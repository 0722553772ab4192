"""Which errors are said in a sentence, and which are faults of the program and keep their traceback."""

from __future__ import annotations

import sys


def sentence(error: BaseException) -> str | None:
    """Return what to tell a person about an error, or None if it is a fault of the program.

    The project's own errors carry such a sentence; of Redis, only that it cannot be used.
    """
    if type(error).__module__.partition(".")[0] == "hsnn":
        return str(error)
    redis = sys.modules.get("redis.exceptions")
    if redis is not None and isinstance(error, redis.ConnectionError | redis.TimeoutError | redis.AuthenticationError):
        return f"Redis cannot be used: {error}; start it, or set redis.url (and streaming.log) to one that runs"
    return None
