"""A worker: a process of a server that shares its port, rates, metrics and history with the other ones."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple, cast

import uvicorn

from hsnn.monitoring.health import Detail, Health
from hsnn.serving.api.connection import close_after_answer
from hsnn.serving.api.server import Follower, Standalone, UvicornServer
from hsnn.serving.api.token_bucket import TokenBucket
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sharing.attached_follower import AttachedFollower
from hsnn.serving.sharing.mirrors import AttachedMirror, PublishingMirror
from hsnn.serving.sharing.places import SharedPlaces
from hsnn.serving.sync.follower import LOOP, VERSION, WARM
from hsnn.serving.workers.acceptor import Acceptor
from hsnn.serving.workers.board import Board
from hsnn.serving.workers.shared_metrics import SharedMetrics, share_values
from hsnn.serving.workers.shared_rates import SharedRates
from hsnn.serving.workers.supervisor import AT_ONCE
from hsnn.streaming.redis.client import Redis

_log = logging.getLogger(__name__)


class Shared(NamedTuple):
    """What the workers of a server share.

    Attributes
    ----------
    folder
        Of the files of metrics.
    stalled_after
        Seconds without a sign of life after which a worker is not live.
    """

    board: Board
    rates: SharedRates
    places: SharedPlaces
    folder: Path
    stalled_after: float


class Worker(Standalone):
    """A worker.

    Parameters
    ----------
    number
        From 0.
    on_listening
        Called once it takes connections.
    """

    def __init__(self, number: int, listening: socket.socket, shared: Shared, on_listening: Callable[[], None]) -> None:
        super().__init__(listening, on_listening)
        self._number, self._shared = number, shared
        self._health = WorkerHealth(number, shared.board, shared.stalled_after)
        share_values(shared.folder, number)
        self._metrics = SharedMetrics(shared.folder, shared.board)
        self._new_bucket = shared.rates.open()

    def new_metrics(self) -> ServingMetrics:
        """Return metrics that show those of all workers."""
        return self._metrics

    def new_health(self) -> Health:
        """Return health that includes the other workers."""
        return self._health

    def new_mirror(self, *, engine: bool) -> Mirror:
        """Make the mirror: the first worker writes it, the others are attached to it."""
        places = self._shared.places
        return AttachedMirror(places, self._number) if self._number else PublishingMirror(places, engine)

    def new_follower(self, redis: Redis, mirror: Mirror, metrics: ServingMetrics, health: Health) -> Follower:
        """Make what keeps the mirror up to date, or notices that it is."""
        if isinstance(mirror, AttachedMirror):
            return AttachedFollower(mirror, metrics, health)
        return super().new_follower(redis, mirror, metrics, health)

    def new_bucket(self, name: str, rate: float) -> TokenBucket:
        """Make a bucket that all workers take from."""
        return self._new_bucket(name, rate)

    def writes_history(self) -> bool:
        """Whether this is the first of the workers that run."""
        return self._shared.board.first_process() == self._number

    def run(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        """Answer until a signal, or until the supervisor has gone."""
        WorkerServer(config, self, on_stop).run(sockets=[])

    def new_acceptor(self, config: uvicorn.Config, state: uvicorn.server.ServerState) -> Acceptor:
        """Make what takes connections, in the loop that runs."""
        protocol = cast("Callable[..., asyncio.Protocol]", config.http_protocol_class)
        return Acceptor(
            self.listening,
            self._shared.board,
            self._number,
            connect=partial(protocol, config=config, server_state=state, app_state={}),
            count=lambda: len(state.connections),
            tls=config.ssl,
        )

    def listens(self) -> None:
        """Say that connections are taken."""
        self.on_start()
        _log.info("this worker takes connections")

    def say(self, connections: int) -> None:
        """Tell the other workers how this one is."""
        self._shared.board.say(
            self._number,
            connections=connections,
            version=int(next(iter(self._metrics.version.collect())).samples[0].value),
            answers=self._health.own_readiness()[0],
            ready=self._health.readiness()[0],
            live=self._health.own_liveness()[0],
        )


class WorkerHealth(Health):
    """Health of a worker: live while all workers are, ready when it and the one that keeps the mirror up to date are.

    Others that cannot answer get no calls.
    """

    def __init__(self, number: int, board: Board, stalled_after: float) -> None:
        super().__init__(VERSION, WARM)
        self._number, self._board, self._stalled_after = number, board, stalled_after

    def own_liveness(self) -> tuple[bool, Detail]:
        """Return whether this worker is live, and its details."""
        return super().liveness()

    def own_readiness(self) -> tuple[bool, Detail]:
        """Return whether this worker can answer, be it from what is out of date, and the state of its parts."""
        return super().readiness()

    def readiness(self) -> tuple[bool, Detail]:
        """Return whether this worker can answer from what is kept up to date, and the state of all that takes."""
        ready, detail = self.own_readiness()
        if not self._number:
            return ready, detail
        followed = self._board.is_ready(0) and self._board.is_live(0, self._stalled_after)
        return ready and followed, detail | {LOOP: followed}

    def liveness(self) -> tuple[bool, Detail]:
        """Return whether all workers are live, details of this one, and the state of each."""
        live, detail = self.own_liveness()
        workers = {
            str(worker): {
                "live": live if worker == self._number else self._board.is_live(worker, self._stalled_after),
                "ready": self._board.is_ready(worker),
                "pid": self._board.pid(worker),
            }
            for worker in range(self._board.workers)
        }
        return all(worker["live"] for worker in workers.values()), detail | {"workers": workers}


class WorkerServer(UvicornServer):
    """Uvicorn server of a worker."""

    def __init__(self, config: uvicorn.Config, worker: Worker, on_stop: Callable[[], None]) -> None:
        super().__init__(config, worker.listens, on_stop)
        self._worker, self._supervisor = worker, os.getppid()
        self._acceptor: Acceptor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections."""
        self._acceptor = self._worker.new_acceptor(self.config, self.server_state)
        self._tell()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Tell the other workers how this one is, ten times a second; whether to end."""
        self._tell()
        if os.getppid() != self._supervisor and not self.should_exit:
            _log.error("the supervisor has gone; this worker ends, too")
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and stop in order."""
        if self._acceptor is not None:
            await self._acceptor.close()
        await super().shutdown(sockets)

    def signal_handlers(self) -> dict[signal.Signals, Callable[[int, FrameType | None], None]]:
        """Return what is done at which signal: SIGTERM and SIGINT stop in order, however often they come."""
        return {signal.SIGTERM: self._end, signal.SIGINT: self._end, AT_ONCE: self._end_at_once}

    def _tell(self) -> None:
        self._worker.say(len(self.server_state.connections))
        if self._acceptor is not None:
            self._acceptor.look()
            self._balance(self._acceptor.surplus())

    def _balance(self, surplus: int) -> None:
        """Let so many clients connect anew: who is being answered reads that the connection ends with the answer."""
        for connection in self.server_state.connections if surplus else ():
            if surplus and close_after_answer(connection, "balance"):
                surplus -= 1

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is signal's
        self.should_exit = True

    def _end_at_once(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as above
        self.should_exit = self.force_exit = True
