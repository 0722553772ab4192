"""Memory of processes."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path


def resident(process: str = "self") -> int:
    """Bytes of main memory that a process holds (Linux)."""
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])


def needed() -> int:
    """Bytes that this process holds, after it returned free memory to the system (glibc)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()
