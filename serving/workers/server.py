"""A server of several processes: binds the address, prepares what they share, and lets a supervisor run them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hsnn.indexer.config import IndexerConfig
from hsnn.serving.api.access import read_tokens, token_bucket_name
from hsnn.serving.api.ingest_keys import key_bucket_name
from hsnn.serving.api.listening import bind, check_certificate
from hsnn.serving.api.server import report_port, serve
from hsnn.serving.config import ServingConfig
from hsnn.serving.workers.board import Board
from hsnn.serving.workers.shared_rates import SharedRates
from hsnn.serving.workers.supervisor import Supervisor
from hsnn.serving.workers.worker import Shared, Worker
from hsnn.streaming.config import StreamingConfig

# Connections that wait for a worker; Linux takes net.core.somaxconn of them, 4096 by default.
_BACKLOG = 2048


def run(
    config: ServingConfig,
    redis_url: str,
    port_file: Path | None = None,
    stalled_after: float = 30.0,
    streaming: StreamingConfig | None = None,
    indexer: IndexerConfig | None = None,
) -> int:
    """Serve with the configured number of workers; as `hsnn.serving.api.server.run` does with one process.

    Workers are forked from this process, which has imported what they need, so that they share the memory of that.

    Raises
    ------
    ServerError
        The address cannot be listened on, the certificate cannot be used, or the first worker cannot start.
    ServerTokenError
        A token is configured but not set.
    """
    tokens = read_tokens(config)
    check_certificate(config)
    with bind(config) as listening, tempfile.TemporaryDirectory(prefix="hsnn-serve-") as name:
        folder, board = Path(name), Board(config.workers)
        named = [token_bucket_name(token) for token in tokens] + [key_bucket_name(key) for key in config.ingest_keys]
        shared = Shared(board, SharedRates(named, folder / "rates.lock"), folder, stalled_after)
        port = int(listening.getsockname()[1])
        listening.listen(_BACKLOG)
        listening.setblocking(False)
        share = config.model_copy(update={"max_connections": math.ceil(config.max_connections / config.workers)})

        def work(number: int, on_listening: Callable[[], None]) -> None:
            serve(
                Worker(number, listening, shared, on_listening),
                share,
                redis_url,
                tokens,
                stalled_after=stalled_after,
                streaming=streaming,
                indexer=indexer,
            )

        try:
            Supervisor(board).run(work, on_start=partial(report_port, port, port_file), on_stop=listening.close)
        finally:
            if port_file is not None:
                port_file.unlink(missing_ok=True)
    return port
