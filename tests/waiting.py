"""Wait for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds after which a test gives up waiting for what takes moments: a machine that is slow or busy fails no test, and
# waiting costs nothing where all is well. A test as a whole may take ten times that.
DEADLINE = 60.0

# Seconds after which a test gives up waiting for processes that begin: each imports PyTorch, and others do so, too.
START_DEADLINE = 3 * DEADLINE


def eventually(condition: Callable[[], object], seconds: float = DEADLINE) -> bool:
    """Return whether a condition holds in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


def wait_until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    assert eventually(condition, seconds), "the condition did not hold in time"
