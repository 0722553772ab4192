"""Freshness as a client sees it: new items are asked for over HTTP until the server returns them."""

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

_EVERY = 0.04  # seconds between questions about items that were not returned yet
_LONGEST = 30.0


class Probes(Thread):
    """Takes a sample of the items that the feed announces, and waits for each to be retrievable.

    The sample is drawn by time alone, one item per `spacing` seconds at most, so that slow moments are not left out.
    An item counts from the `sent_at` its producer put on the record to the arrival of the first answer that holds it;
    one that was not returned within 30 s counts with these 30 s, as unanswered.

    Parameters
    ----------
    redis
        Where the feed is.
    server
        Address of the server.
    report
        Called with the seconds of every probe, and whether it was answered.
    spacing
        Seconds between two probes at least.
    """

    def __init__(self, redis: Redis, server: str, report: Callable[[float, bool], None], spacing: float = 0.2) -> None:
        super().__init__(name="probes", daemon=True)
        self._redis, self._report, self._spacing = redis, report, spacing
        self._http = httpx.Client(base_url=server, timeout=5.0)
        self._position = "0-0"
        self._rows = 0
        self._waiting: dict[str, FeedItem] = {}
        self._last = 0.0
        self._ended = Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Probe until `end`, then until the probes under way are answered."""
        try:
            self._catch_up()
            while not (self._ended.is_set() and not self._waiting):
                self._listen()
                self._ask()
        except Exception as error:
            self.error = error
        finally:
            self._http.close()

    def end(self, timeout: float = _LONGEST) -> None:
        """Start no more probes and wait for those under way."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout)

    def _catch_up(self) -> None:
        """Pass what the feed holds already: those items are in the first version, not new to the index."""
        past: Any = self._redis.xrange(key("feed"))
        self._position = "0-0"
        for entry_id, fields in past:
            self._position = entry_id.decode()
            self._rows = max(self._rows, 1 + max(item.row for item in Feed.decode(fields[b"d"]).items))

    def _listen(self) -> None:
        pause = int(1000 * (_EVERY if self._waiting else _EVERY * 2.5))
        found: Any = self._redis.xread({key("feed"): self._position}, block=pause)
        for _, entries in found.items() if isinstance(found, dict) else found:
            for entry_id, fields in entries:
                self._position = entry_id.decode()
                for item in Feed.decode(fields[b"d"]).items:
                    self._consider(item)

    def _consider(self, item: FeedItem) -> None:
        new = item.row >= self._rows and not item.deleted and item.sent_at > 0  # rows are given in order of arrival
        self._rows = max(self._rows, item.row + 1)
        now = time.monotonic()
        if new and not self._ended.is_set() and now - self._last >= self._spacing:
            self._last = now
            self._waiting[item.id] = item

    def _ask(self) -> None:
        """One call for all items waited for, each a request of its own that no other item can answer."""
        if not self._waiting:
            return
        queries = [{"user": "probe", "k": 1, "filters": {"items": [name]}} for name in self._waiting]
        response = self._http.post("/v1/retrieve_many", content=msgspec.json.encode({"queries": queries}))
        now = time.time()
        if response.status_code == httpx.codes.OK:
            for name, answer in zip(list(self._waiting), response.json()["answers"], strict=True):
                self._settle(name, name in answer["items"], now)

    def _settle(self, name: str, returned: bool, now: float) -> None:
        seconds = now - self._waiting[name].sent_at / 1000
        if returned or seconds > _LONGEST:
            del self._waiting[name]
            self._report(max(seconds, 0.0), returned)
        elif self._ended.is_set() and seconds > _LONGEST / 3:
            del self._waiting[name]  # the stream has ended and the item with it
            self._report(seconds, False)
