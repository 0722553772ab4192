"""Preloading: an announced version is loaded while the one before is in use, so that the switch takes no loading."""

from __future__ import annotations

import logging
from threading import Thread

from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import Version
from hsnn.streaming.redis.client import Redis

_log = logging.getLogger(__name__)


class VersionPreloader:
    """Loads one version at a time on a thread of its own; its methods are called by one other thread.

    The base of a version does not change after its announcement, so it may be loaded at any time before the switch.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    prefix
        Of the index, as `hsnn.indexer.store.reader.IndexReader` takes it.
    """

    def __init__(self, redis: Redis, prefix: str | None = None) -> None:
        self._redis, self._prefix = redis, prefix
        self._loading: _LoadThread | None = None

    def start(self, number: int) -> None:
        """Start to load a version; one that was loaded before is discarded."""
        self._loading = _LoadThread(IndexReader(self._redis, self._prefix), number)
        self._loading.start()

    def pop(self, number: int) -> Version | None:
        """Return and forget a version, waiting while it is being loaded; None if it was not preloaded."""
        loading, self._loading = self._loading, None
        if loading is None or loading.number != number:
            return None
        loading.join()
        return loading.version

    def discard(self) -> None:
        """Discard the version that was or is being loaded: it comes from another server."""
        self._loading = None


class _LoadThread(Thread):
    def __init__(self, reader: IndexReader, number: int) -> None:
        super().__init__(name="preload", daemon=True)
        self._reader, self.number = reader, number
        self.version: Version | None = None

    def run(self) -> None:
        try:
            self.version = self._reader.load_version(self.number)
        except Exception as error:  # the switch to this version, if it comes, loads it again
            _log.warning("version %d could not be preloaded: %s", self.number, error)
