"""A server of several processes: binds the address, prepares what they share, and lets a supervisor run them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hsnn.serving.api.access import token_bucket_name
from hsnn.serving.api.ingest_keys import key_bucket_name
from hsnn.serving.api.server import ServerSettings, serve
from hsnn.serving.sharing.arena import Arena
from hsnn.serving.sharing.places import SharedPlaces
from hsnn.serving.workers.board import Board
from hsnn.serving.workers.shared_rates import SharedRates
from hsnn.serving.workers.supervisor import Supervisor
from hsnn.serving.workers.worker import Shared, Worker

# Connections that wait for a worker; Linux takes net.core.somaxconn of them, 4096 by default.
_BACKLOG = 2048


def run(settings: ServerSettings) -> int:
    """Serve with the configured number of workers; as `hsnn.serving.api.server.run` does with one process.

    Workers are forked from this process, which has imported what they need, so that they share the memory of that.

    Raises
    ------
    ServerError
        As of `ServerSettings.listen`, or the first worker cannot start.
    ServerTokenError
        A token is configured but not set.
    """
    config = settings.config
    with settings.listen() as (listening, tokens), tempfile.TemporaryDirectory(prefix="hsnn-serve-") as name:
        folder, board = Path(name), Board(config.workers)
        named = [token_bucket_name(token) for token in tokens] + [key_bucket_name(key) for key in config.ingest_keys]
        places, rates = SharedPlaces(config.workers, Arena(), folder), SharedRates(named, folder / "rates.lock")
        shared = Shared(board, rates, places, folder=folder, stalled_after=settings.stalled_after)
        port = int(listening.getsockname()[1])
        listening.listen(_BACKLOG)
        listening.setblocking(False)
        share = config.model_copy(update={"max_connections": math.ceil(config.max_connections / config.workers)})

        def work(number: int, on_listening: Callable[[], None]) -> None:
            serve(Worker(number, listening, shared, on_listening), settings._replace(config=share), tokens)

        supervisor = Supervisor(board, places.forget)
        supervisor.run(work, on_start=partial(settings.report, port), on_stop=listening.close)
    return port
