"""Prefetch of one read command from a Redis server: the server works on it before its answer is needed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import redis

ReadCommand = tuple[str | int, ...]
"""A command and its arguments; it changes nothing, so it can be sent again."""


class Prefetcher:
    """Sends a read command ahead of time, and holds its connection until the answer is received or discarded.

    Failures are not raised: the answer is then missing, and the caller meets the same failure when it asks again.

    Parameters
    ----------
    client
        A client of redis-py.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._command: ReadCommand = ()
        self._connection: Any = None

    def send(self, command: ReadCommand) -> None:
        """Send a command; the one before is discarded."""
        self.discard()
        with suppress(redis.RedisError):
            self._connection = self._pool.get_connection()
            try:
                self._connection.send_command(*command)
            except BaseException:
                self.discard()
                raise
            self._command = command

    def receive(self, command: ReadCommand) -> Any:
        """Return the answer to `command`, or None if a different command was sent, or none; then discard it."""
        if self._connection is None or command != self._command:
            self.discard()
            return None
        answer = None
        with suppress(redis.RedisError):
            answer = self._connection.read_response()
            self._pool.release(self._connection)
            self._connection = None
        self.discard()
        return answer

    def discard(self) -> None:
        """Give up the command that was sent, if there is one."""
        if self._connection is not None:
            self._connection.disconnect()  # else its answer would be read as that of the connection's next command
            self._pool.release(self._connection)
        self._connection, self._command = None, ()
