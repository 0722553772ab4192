"""One question to a Redis server that is asked before its answer is wanted: it works on it meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import redis

ReadCommand = tuple[str | int, ...]
"""A command and its arguments; it only reads, and can be asked again."""


class Prefetcher:
    """Holds a question and its connection until the answer is taken, or nobody wants it.

    What goes wrong is no error here: the answer is missing, and whoever asks again meets the same.

    Parameters
    ----------
    client
        Of redis-py.
    """

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._question: ReadCommand = ()
        self._connection: Any = None

    def send(self, question: ReadCommand) -> None:
        """Send a question; one that was asked before is forgotten."""
        self.discard()
        with suppress(redis.RedisError):
            self._connection = self._pool.get_connection()
            try:
                self._connection.send_command(*question)
            except BaseException:
                self.discard()
                raise
            self._question = question

    def receive(self, question: ReadCommand) -> Any:
        """Take the answer to a question, None if there is none or another one was asked; afterwards it is forgotten."""
        if self._connection is None or question != self._question:
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
        """Want no answer any more."""
        if self._connection is not None:
            self._connection.disconnect()  # the answer may be on its way
            self._pool.release(self._connection)
        self._connection, self._question = None, ()
