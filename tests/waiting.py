"""Wait for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], seconds: float) -> bool:
    """Return whether a condition holds in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    assert eventually(condition, seconds), "the condition did not hold in time"
