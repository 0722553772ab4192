"""Connections of the server: how many, and how long each may be idle or take to send its headers."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Seconds that a client has to send the headers of a request from the moment its connection is open or its last request
# is answered, however slowly bytes trickle in.
_HEADER_SECONDS = 10.0

# Bytes of the headers of a request, at most: those of browsers and proxies take a few thousand.
_MOST_HEADER_BYTES = 65_536

# Seconds after which an idle connection is closed in order. Longer than clients use one again (httpx: within 5 s), so
# that none sends its request into a connection that is just being closed; before the header timer aborts it.
KEEP_ALIVE_SECONDS = 8

# Seconds within which a client has to read something of an answer that the socket's buffers do not hold.
_READ_SECONDS = 30.0


def protocol(most: int, closed: Counter) -> type[HttpToolsProtocol]:
    """Make the protocol class of a server that has at most `most` connections; `closed` counts those it closes."""

    class Connection(_Connection):
        """A connection of this server."""

        limit, closings = most, closed

    return Connection


def close_after_answer(connection: object, reason: str) -> bool:
    """Close a connection in order, after an answer that says so; False if none is about to be sent."""
    if not isinstance(connection, _Connection) or connection.is_idle:
        return False
    cycle = connection.cycle
    if cycle.response_started or not cycle.keep_alive:
        return False
    connection.closings.labels(reason).inc()
    cycle.keep_alive = False
    return True


class _Connection(HttpToolsProtocol):
    """HTTP/1.1 connection that does not wait for ever for its client."""

    limit: int
    closings: Counter

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.idle_since = 0.0
        self._header_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes, when the read timer was started
        self._reads_headers, self._header_bytes = False, 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.limit:
            idle = [other for other in self.connections if isinstance(other, _Connection) and other.is_idle]
            min(idle, key=lambda other: other.idle_since).abort("limit")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch()
        if self._read_timer is not None:
            self._read_timer.cancel()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._reads_headers:
            self._header_bytes += len(data)
            if self._header_bytes > _MOST_HEADER_BYTES:
                self.abort("large headers")
        self._watch()

    def on_message_begin(self) -> None:
        self._reads_headers, self._header_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._reads_headers = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()
        self._expect_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def abort(self, reason: str) -> None:
        """Close the connection at once, whatever waits to be sent."""
        self.closings.labels(reason).inc()
        self.transport.abort()

    def _watch(self) -> None:
        """Start the header timer where no request is being answered, and stop it where one is."""
        if self.transport.is_closing() or not self.is_idle:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None
        elif self._header_timer is None:
            self.idle_since = self.loop.time()
            self._header_timer = self.loop.call_later(_HEADER_SECONDS, self.abort, "no headers")

    def _expect_reading(self) -> None:
        """Start the read timer if bytes wait for the client."""
        self._unread = self.transport.get_write_buffer_size()
        if self._unread and self._read_timer is None:
            self._read_timer = self.loop.call_later(_READ_SECONDS, self._check_reading)

    def _check_reading(self) -> None:
        self._read_timer = None
        if self._unread and self.transport.get_write_buffer_size() >= self._unread:
            self.abort("unread answer")
        else:
            self._expect_reading()
