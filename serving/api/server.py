"""Server process: mirror follower and HTTP server."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from threadpoolctl import threadpool_limits

from hsnn.indexer.config import IndexerConfig
from hsnn.monitoring.health import Health
from hsnn.monitoring.process.gil import shorten_switch_interval
from hsnn.serving.api.access import Access, read_tokens
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.connection import KEEP_ALIVE_SECONDS, protocol
from hsnn.serving.api.console_app import ConsoleApi, add_console
from hsnn.serving.api.ingest import IngestApi
from hsnn.serving.config import Scope, ServingConfig, is_loopback
from hsnn.serving.console.routes import Console
from hsnn.serving.console.sampler import FigureSampler
from hsnn.serving.errors import ServerError
from hsnn.serving.ingest.appender import EventAppender
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.follower import LOOP, VERSION, WARM, MirrorFollower
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import connect
from hsnn.trainer.retrieval.compiled import engine_available

_log = logging.getLogger(__name__)
# Seconds that running requests get to finish after a signal: the default deadline of a request.
_GRACE = 5


def run(
    config: ServingConfig,
    redis_url: str,
    port_file: Path | None = None,
    stalled_after: float = 30.0,
    streaming: StreamingConfig | None = None,
    indexer: IndexerConfig | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then finish running requests; a second signal ends at once.

    Parameters
    ----------
    config
        Configuration of the server.
    redis_url
        Redis server of the index; it may start later than this process.
    port_file
        Receives the bound port once the server listens on it.
    stalled_after
        Seconds without progress after which the process is not live.
    streaming
        Log and topics of the events that are taken; None: there are no calls that write.
    indexer
        For the console: how a rollback takes the lease.

    Returns
    -------
    int
        The port that was listened on.

    Raises
    ------
    ServerError
        The address cannot be listened on, or the certificate cannot be used.
    ServerTokenError
        A token is configured but not set.
    """
    threadpool_limits(limits=1, user_api="blas")  # requests are answered side by side, each on one core
    shorten_switch_interval()
    mirror, metrics, health = (
        Mirror(engine=config.engine and engine_available(), double_buffered=True),
        ServingMetrics(),
        Health(VERSION, WARM),
    )
    health.expect(LOOP, within=stalled_after)
    tokens = read_tokens(config)
    _check_certificate(config)
    listening = _listening_socket(config)
    port = int(listening.getsockname()[1])
    redis = connect(redis_url)
    following = connect(redis_url, retry_timeouts=False)  # announced ends are obeyed while Redis hangs
    follower = MirrorFollower(following, mirror, metrics, health)
    # who can reach a server from another machine, and needs no token, may read only
    access = Access(tokens, open_scopes=frozenset(Scope) if is_loopback(config.host) else {Scope.READ})
    api = Api(mirror, config, metrics, access=access, freshness=follower.freshness)
    ingest = None
    if streaming is not None:
        appender = EventAppender(partial(open_log, streaming.log), streaming, metrics)
        ingest = IngestApi(appender, access, config, streaming)
    console = Console(
        redis,
        mirror,
        metrics,
        health,
        streaming=streaming or StreamingConfig(),
        indexer=indexer or IndexerConfig(),
    )
    console_api = ConsoleApi(console, access)
    app = create_app(api, metrics, health, ingest)
    add_console(app, console_api, console, metrics)
    server = _UvicornServer(uvicorn_config(app, config, metrics), port, port_file, on_stop=console_api.stop)
    sampler = FigureSampler(redis, mirror, metrics)
    follower.start()
    sampler.start()
    try:
        server.run(sockets=[listening])
    finally:
        sampler.stop()
        follower.stop()
        console_api.close()
        redis.close()
        following.close()
        api.close()
        if ingest is not None:
            ingest.close()
        if port_file is not None:
            port_file.unlink(missing_ok=True)
    return port


class _UvicornServer(uvicorn.Server):
    """Uvicorn server that reports its port, and returns after a signal instead of raising it again."""

    def __init__(
        self, config: uvicorn.Config, port: int, port_file: Path | None, on_stop: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        self._port, self._port_file, self._on_stop = port, port_file, on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._port_file is not None:
            aside = self._port_file.with_name(self._port_file.name + ".new")
            aside.write_text(f"{self._port}\n")
            os.replace(aside, self._port_file)
        _log.info("serving on port %d", self._port)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is signal's
        self.force_exit = self.should_exit
        self.should_exit = True


def uvicorn_config(app: object, config: ServingConfig, metrics: ServingMetrics) -> uvicorn.Config:
    """Make uvicorn's configuration: its connections are bounded in number and time, and its logs are those of hsnn."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=protocol(config.max_connections, metrics.closed),
        ws="none",
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
        access_log=False,
        log_config=None,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE,
        server_header=False,
    )


def _check_certificate(config: ServingConfig) -> None:
    """Raise ServerError if certificate and key cannot be used; uvicorn would say so in a traceback."""
    if config.tls_cert is None or config.tls_key is None:
        return
    for name, path in (("tls_cert", config.tls_cert), ("tls_key", config.tls_key)):
        if not os.access(path, os.R_OK):
            raise ServerError(f"serving.{name} names {path}, which cannot be read; name a PEM file")
    try:
        # an empty password: without one, OpenSSL would ask on the terminal and wait
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls_cert, config.tls_key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ServerError(
            f"serving.tls_cert {config.tls_cert} and serving.tls_key {config.tls_key} cannot be used ({error}); both "
            "are PEM, the key belongs to the first certificate of the chain and has no password"
        ) from error


def _listening_socket(config: ServingConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # asyncio disables Nagle's algorithm for sockets that name TCP; otherwise every answer waits 40 ms for an ACK
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise ServerError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}; "
            "stop what listens there, or set serving.port (0 takes a free one)"
        ) from error
    return listening
