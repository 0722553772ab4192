"""A version that was announced is loaded while readers still use the one before: the flip finds it in memory."""

from __future__ import annotations

import logging
from threading import Thread

from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import Version
from hsnn.streaming.redis.client import Redis

_log = logging.getLogger(__name__)


class VersionPreloader:
    """Loads one version at a time, on a thread of its own; what is asked of it comes from one other thread.

    A version's base stays as it was when it was announced, so it may be loaded at any time before the flip.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._loading: _LoadThread | None = None

    def start(self, number: int) -> None:
        """Load a version; what was loaded before is forgotten."""
        self._loading = _LoadThread(IndexReader(self._redis), number)
        self._loading.start()

    def pop(self, number: int) -> Version | None:
        """Hand out a version, waiting for its end if it is being loaded; None if it is not there."""
        loading, self._loading = self._loading, None
        if loading is None or loading.number != number:
            return None
        loading.join()
        return loading.version

    def discard(self) -> None:
        """Forget what was loaded, or is being loaded: it is of another server."""
        self._loading = None


class _LoadThread(Thread):
    def __init__(self, reader: IndexReader, number: int) -> None:
        super().__init__(name="preload", daemon=True)
        self._reader, self.number = reader, number
        self.version: Version | None = None

    def run(self) -> None:
        try:
            self.version = self._reader.load_version(self.number)
        except Exception as error:  # the flip, if it comes, finds out for itself
            _log.warning("version %d could not be loaded before its flip: %s", self.number, error)
