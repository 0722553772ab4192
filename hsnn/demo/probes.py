"""Measure freshness as a client sees it: query new items over HTTP until the server returns them."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import httpx
import msgspec

from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.messages import Feed, FeedItem

# Seconds between two queries for items that were not returned yet: the resolution of the measurement.
_QUERY_EVERY = 0.04

# Seconds after which an item counts as never returned.
_TIMEOUT = 30.0


class FreshnessProbes(Thread):
    """Sample the items that the feed announces, and wait for each to be retrievable.

    The sample depends on time alone, at most one item per `spacing` seconds, so that slow phases are not
    underrepresented. Freshness is the time from the `sent_at` of the item's record to the arrival of the first answer
    with it; an item that was not returned within 30 s counts as 30 s and as unanswered.

    Parameters
    ----------
    redis
        Has the feed.
    server
        Base URL of the server.
    report
        Called with the seconds of every probe, and whether it was answered.
    spacing
        Least time between two probes, seconds.
    """

    def __init__(self, redis: Redis, server: str, report: Callable[[float, bool], None], spacing: float = 0.2) -> None:
        super().__init__(name="probes", daemon=True)
        self._redis, self._report, self._spacing = redis, report, spacing
        self._http = httpx.Client(base_url=server, timeout=5.0)
        self._position = "0-0"
        self._rows = 0
        self._waiting: dict[str, FeedItem] = {}
        self._last = 0.0
        self._answered_at = 0.0
        self._ended = Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Probe until `end`, then until the open probes are answered."""
        try:
            self._skip_past_items()
            while not (self._ended.is_set() and not self._waiting):
                self._read_feed()
                self._query()
        except Exception as error:
            self.error = error
        finally:
            self._http.close()

    def end(self, timeout: float = _TIMEOUT) -> None:
        """Start no more probes and wait for the open ones."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout)

    def _skip_past_items(self) -> None:
        """Skip the items that the feed already has: they are in the first version, not new to the index."""
        past: Any = self._redis.xrange(key("feed"))
        self._position = "0-0"
        for entry_id, fields in past:
            self._position = entry_id.decode()
            self._rows = max(self._rows, 1 + max(item.row for item in Feed.decode(fields[b"d"]).items))

    def _read_feed(self) -> None:
        pause = int(1000 * (_QUERY_EVERY if self._waiting else _QUERY_EVERY * 2.5))
        found: Any = self._redis.xread({key("feed"): self._position}, block=pause)
        for _, entries in found.items() if isinstance(found, dict) else found:
            for entry_id, fields in entries:
                self._position = entry_id.decode()
                for item in Feed.decode(fields[b"d"]).items:
                    self._maybe_probe(item)

    def _maybe_probe(self, item: FeedItem) -> None:
        new = item.row >= self._rows and not item.deleted and item.sent_at > 0  # rows are assigned in order of arrival
        self._rows = max(self._rows, item.row + 1)
        now = time.monotonic()
        if new and not self._ended.is_set() and now - self._last >= self._spacing:
            self._last = now
            self._waiting[item.id] = item

    def _query(self) -> None:
        """Query all open items in one call, each restricted to itself, so that no other item can take its place.

        A call may fail on a machine that is too busy: the items stay open. A server that is silent for as long as an
        item may be is given up.
        """
        if not self._waiting:
            self._answered_at = time.monotonic()
            return
        queries = [{"user": "probe", "k": 1, "filters": {"items": [name]}} for name in self._waiting]
        try:
            response = self._http.post("/v1/retrieve_many", content=msgspec.json.encode({"queries": queries}))
        except httpx.TransportError:
            if time.monotonic() - self._answered_at > _TIMEOUT:
                raise
            return
        now, self._answered_at = time.time(), time.monotonic()
        if response.status_code == httpx.codes.OK:
            for name, answer in zip(list(self._waiting), response.json()["answers"], strict=True):
                self._record(name, name in answer["items"], now)

    def _record(self, name: str, returned: bool, now: float) -> None:
        seconds = now - self._waiting[name].sent_at / 1000
        if returned or seconds > _TIMEOUT:
            del self._waiting[name]
            self._report(max(seconds, 0.0), returned)
        elif self._ended.is_set() and seconds > _TIMEOUT / 3:
            del self._waiting[name]  # the stream has ended, and the item may have expired
            self._report(seconds, False)
