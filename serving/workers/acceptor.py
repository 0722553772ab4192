"""Takes connections from the socket that all workers listen on, in turns that keep them equally busy."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Callable

from hsnn.serving.workers.board import Board

_log = logging.getLogger(__name__)

# Seconds for which a worker leaves a connection to another one that has fewer; then it takes it all the same, since
# the other may be busy. A worker that is not comes to it within some tenths of a millisecond.
_DEFERRED = 0.002

# Seconds after which a worker that can open no more files tries again.
_EXHAUSTED = 1.0


class Acceptor:
    """Accepts one connection at a time, unless another worker should.

    The socket is one for all: a connection that waits belongs to no worker, so none is lost with a worker that dies,
    and one that hangs takes none. uvloop would accept all that wait, and the others would have none of a burst.

    Parameters
    ----------
    listening
        Does not block.
    connect
        Makes the protocol of a connection.
    count
        Says how many connections this worker has.
    """

    def __init__(
        self,
        listening: socket.socket,
        board: Board,
        worker: int,
        *,
        connect: Callable[[], asyncio.Protocol],
        count: Callable[[], int],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listening, self._board, self._worker = listening, board, worker
        self._connect, self._count, self._tls = connect, count, tls
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._listens = self._deferred = self._closed = False

    def look(self) -> None:
        """Begin to accept, or stop: workers that are not ready leave connections to those that are."""
        if self._closed or self._pause is not None:
            return
        accepts = self._worker in self._board.accepts()
        if accepts and not self._listens:
            self._loop.add_reader(self._listening.fileno(), self._readable)
        elif self._listens and not accepts:
            self._loop.remove_reader(self._listening.fileno())
        self._listens = accepts

    def surplus(self) -> int:
        """Count the connections that this worker has above an equal share, which a worker that was replaced lacks."""
        accepting = self._board.accepts()
        if self._worker not in accepting:
            return 0
        others = sum(self._board.connections(other) for other in accepting if other != self._worker)
        return max(self._count() - math.ceil((self._count() + others) / len(accepting)), 0)

    async def close(self) -> None:
        """Accept no more, and return once those that were accepted are open."""
        self._closed = True
        self._stop()
        if self._opening:
            await asyncio.wait(self._opening)
        self._listening.close()

    def _readable(self) -> None:
        if self._is_ahead() and not self._deferred:
            self._deferred = True
            self._wait(_DEFERRED)
            return
        self._deferred = False
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker has it, or its client is gone
        except OSError as error:
            _log.error("a connection cannot be taken: %s; raise the limit of open files", error)
            self._wait(_EXHAUSTED)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connect, connection, ssl=self._tls)
        except (TimeoutError, OSError):  # a client that went, or speaks no TLS
            connection.close()
        self._board.set_connections(self._worker, self._count())

    def _is_ahead(self) -> bool:
        """Whether another worker that accepts has fewer connections."""
        own = self._count() + len(self._opening)
        return any(self._board.connections(other) < own for other in self._board.accepts() if other != self._worker)

    def _wait(self, seconds: float) -> None:
        """Accept nothing for so long."""
        self._stop()
        self._pause = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self.look()

    def _stop(self) -> None:
        if self._listens:
            self._loop.remove_reader(self._listening.fileno())
            self._listens = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
