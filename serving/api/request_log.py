"""Request log: a line of JSON for every answer given over HTTP, so that answers can be checked afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

import msgspec

from hsnn.monitoring.process.log_format import current_ids
from hsnn.serving.schema import Answer, Request


class RequestLog:
    """Appends ``{"t", "request", "user", "mode", "as_of", "version", "items"}``; `t` is the wall time in ms.

    Parameters
    ----------
    path
        Created with its folder if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._lock = Lock()

    def append(self, exchanges: Iterable[tuple[Request, Answer]]) -> None:
        """Append requests with their answers; they are flushed to the file when this returns."""
        now = time.time_ns() // 1_000_000
        lines = [
            msgspec.json.encode(
                {
                    "t": now,
                    "request": current_ids().get("request"),
                    "user": str(request.user),
                    "mode": request.mode,
                    "as_of": answer.as_of,
                    "version": answer.version,
                    "items": answer.items,
                }
            )
            for request, answer in exchanges
        ]
        if lines:
            with self._lock:
                self._file.write(b"\n".join(lines) + b"\n")
                self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
