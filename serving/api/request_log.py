"""Request log: a line of JSON for every answer given over HTTP, so that answers can be checked afterwards.

An answer never fails because of its line: what cannot be written is left out, counted and said.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from hsnn.monitoring.process.log_format import current_ids
from hsnn.serving.schema import Answer, Query

_log = logging.getLogger(__name__)


def mode_of(request: Query) -> str:
    """Return the mode of a query, ``similar`` of one that has none."""
    return str(getattr(request, "mode", "similar"))


class RequestLog:
    """Appends ``{"t", "request", "recommendation_id", "user", "mode", "as_of", "version", "items"}``, `t` in wall ms.

    A line of an answer that was drawn has ``propensities``, too; one of an experiment has ``arm``, and ``shadow``,
    which is true if nobody saw the answer; one of a server with several indexes has ``index``; one without a user has
    an empty one.

    Parameters
    ----------
    path
        Created with its folder if it does not exist.
    on_lost
        Called with the number of answers whose lines could not be written.
    """

    def __init__(self, path: Path, on_lost: Callable[[int], object] = lambda count: None) -> None:  # noqa: ARG005
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._on_lost = path, on_lost
        self._file = path.open("ab", buffering=0)  # a buffer that cannot be flushed would fail every later call
        self._lock = Lock()
        self._failing = False

    def append(self, exchanges: Iterable[tuple[Query, Answer]], *, shadow: bool = False) -> None:
        """Append requests with their answers; they are in the file when this returns, or left out.

        `shadow` says that nobody saw the answers.
        """
        now = time.time_ns() // 1_000_000
        lines = [
            msgspec.json.encode(
                {
                    "t": now,
                    "request": current_ids().get("request"),
                    "recommendation_id": answer.recommendation_id,
                    "user": str(getattr(request, "user", None) or ""),
                    "mode": mode_of(request),
                    "as_of": answer.as_of,
                    "version": answer.version,
                    "items": answer.items,
                }
                | ({} if answer.propensities is None else {"propensities": answer.propensities})
                | ({"arm": answer.arm, "shadow": shadow} if answer.arm else {})
                | ({"index": answer.index} if answer.index else {})
            )
            for request, answer in exchanges
        ]
        if lines:
            with self._lock:
                self._write(b"\n".join(lines) + b"\n", len(lines))

    def _write(self, text: bytes, count: int) -> None:
        try:
            # other processes may append to the file, and must not where a half line is about to be cut off
            fcntl.flock(self._file, fcntl.LOCK_EX)
            size = os.fstat(self._file.fileno()).st_size
            try:
                if self._file.write(text) != len(text):
                    raise OSError("only a part could be written")
            except OSError:
                with suppress(OSError):
                    self._file.truncate(size)  # no half line
                raise
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            if not self._failing:
                _log.error("answers are not logged in %s: %s; make room there", self._path, error)
            self._failing = True
            self._on_lost(count)
            return
        if self._failing:
            _log.warning("answers are logged in %s again", self._path)
        self._failing = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()
