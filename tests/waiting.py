"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], seconds: float) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


def come_true(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for a condition that has to come true in time."""
    assert eventually(condition, seconds), "it did not come true in time"
