"""Server process: mirror follower and HTTP server."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Protocol

import uvicorn
from threadpoolctl import threadpool_limits

from hsnn.indexer.config import IndexerConfig
from hsnn.monitoring.health import Health
from hsnn.monitoring.process.gil import shorten_switch_interval
from hsnn.serving.api.access import Access, Token, read_tokens
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.connection import KEEP_ALIVE_SECONDS, protocol
from hsnn.serving.api.console_app import ConsoleApi, add_console
from hsnn.serving.api.ingest import IngestApi
from hsnn.serving.api.ingest_keys import IngestKeys
from hsnn.serving.api.listening import bind, check_certificate
from hsnn.serving.api.token_bucket import TokenBucket
from hsnn.serving.config import Scope, ServingConfig, is_loopback
from hsnn.serving.console.routes import Console
from hsnn.serving.console.sampler import FigureSampler
from hsnn.serving.ingest.appender import EventAppender
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.arm_followers import ArmFollowers
from hsnn.serving.sync.arm_index import ArmIndex
from hsnn.serving.sync.follower import LOOP, VERSION, WARM, MirrorFollower
from hsnn.serving.sync.indexes import Indexes
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import Redis, connect
from hsnn.trainer.compiled import engine_available

_log = logging.getLogger(__name__)
# Seconds that running requests get to finish after a signal: the default deadline of a request.
_GRACE = 5


class Follower(Protocol):
    """Keeps a mirror up to date.

    Attributes
    ----------
    freshness
        Seconds from sending to retrievable of new items, as far as this process measured it.
    """

    @property
    def freshness(self) -> Mapping[str, float]: ...  # noqa: D102 - an attribute

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, and wait for that."""


class Standalone:
    """What a server of one process has for itself. Workers of one server share it (`hsnn.serving.workers.worker`).

    Parameters
    ----------
    listening
        Bound to the address of the server.
    on_start
        Called once the server listens on it.
    """

    def __init__(self, listening: socket.socket, on_start: Callable[[], None]) -> None:
        self.listening, self.on_start = listening, on_start

    def new_metrics(self) -> ServingMetrics:
        """Make the metrics of this process."""
        return ServingMetrics()

    def new_health(self) -> Health:
        """Make what this process says of its health."""
        return Health(VERSION, WARM)

    def new_mirror(self, *, engine: bool) -> Mirror:
        """Make the mirror that this process reads."""
        return Mirror(engine=engine, double_buffered=True)

    def new_follower(self, redis: Redis, mirror: Mirror, metrics: ServingMetrics, health: Health) -> Follower:
        """Make what keeps it up to date."""
        return MirrorFollower(redis, mirror, metrics, health)

    def new_bucket(self, name: str, rate: float) -> TokenBucket:  # noqa: ARG002 - workers find theirs by it
        """Make the bucket of a caller, for `rate` per second."""
        return TokenBucket(rate)

    def writes_history(self) -> bool:
        """Whether this process adds the rows of the console's history."""
        return True

    def run(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        """Answer until a signal; `on_stop` is called when it has come."""
        UvicornServer(config, self.on_start, on_stop).run(sockets=[self.listening])


class ServerSettings(NamedTuple):
    """What a server needs to know to start, of one process or of several.

    Attributes
    ----------
    config
        Configuration of the server.
    redis_url
        Redis server of the index; it may start later than this process.
    port_file
        Receives the bound port once the server listens on it, and is removed at the end.
    stalled_after
        Seconds without progress after which a process is not live.
    streaming
        Log and topics of the events that are taken; None: there are no calls that write.
    indexer
        For the console: how a rollback takes the lease.
    """

    config: ServingConfig
    redis_url: str
    port_file: Path | None = None
    stalled_after: float = 30.0
    streaming: StreamingConfig | None = None
    indexer: IndexerConfig = IndexerConfig()

    @contextlib.contextmanager
    def listen(self) -> Iterator[tuple[socket.socket, Mapping[str, Token]]]:
        """Bind the address, and read the tokens of the callers; at the end the port file is removed.

        Raises
        ------
        ServerError
            The address cannot be listened on, or the certificate cannot be used.
        ServerTokenError
            A token is configured but not set.
        """
        tokens = read_tokens(self.config)
        check_certificate(self.config)
        with bind(self.config) as listening:
            try:
                yield listening, tokens
            finally:
                if self.port_file is not None:
                    self.port_file.unlink(missing_ok=True)

    def report(self, port: int) -> None:
        """Say that the server listens: in the log, and in the port file."""
        if self.port_file is not None:
            aside = self.port_file.with_name(self.port_file.name + ".new")
            aside.write_text(f"{port}\n")
            os.replace(aside, self.port_file)
        _log.info("serving on port %d", port)


def run(settings: ServerSettings) -> int:
    """Serve in one process until SIGTERM or SIGINT, then finish running requests; a second signal ends at once.

    Returns
    -------
    int
        The port that was listened on.

    Raises
    ------
    ServerError, ServerTokenError
        As of `ServerSettings.listen`.
    """
    with settings.listen() as (listening, tokens):
        port = int(listening.getsockname()[1])
        serve(Standalone(listening, partial(settings.report, port)), settings, tokens)
    return port


def serve(process: Standalone, settings: ServerSettings, tokens: Mapping[str, Token]) -> None:
    """Follow the index and answer, in this process, until a signal."""
    config, streaming = settings.config, settings.streaming
    threadpool_limits(limits=1, user_api="blas")  # requests are answered side by side, each on one core
    shorten_switch_interval()
    engine = config.engine and engine_available()
    new_mirror = partial(Mirror, engine=engine, double_buffered=True)  # those of arms are of this process
    mirror, metrics, health = process.new_mirror(engine=engine), process.new_metrics(), process.new_health()
    health.expect(LOOP, within=settings.stalled_after)
    redis = connect(settings.redis_url)
    following = connect(settings.redis_url, retry_timeouts=False)  # announced ends are obeyed while Redis hangs
    follower = process.new_follower(following, mirror, metrics, health)
    stale_after = config.experiment.stale_after
    others = {
        prefix: ArmIndex(prefix, mirror, new_mirror(), stale_after=stale_after) for prefix in config.experiment.prefixes
    }
    indexes, arm_followers = Indexes(mirror, others), ArmFollowers(others, settings.redis_url, metrics)
    if others:
        health.describe("indexes", indexes.details)
    # who can reach a server from another machine, and needs no token, may read only
    open_scopes = frozenset(Scope) if is_loopback(config.host) else {Scope.READ}
    access = Access(tokens, open_scopes=open_scopes, new_bucket=process.new_bucket)
    api = Api(mirror, config, metrics, access=access, freshness=follower.freshness, indexes=indexes)
    ingest = None
    if streaming is not None:
        appender = EventAppender(partial(open_log, streaming.log), streaming, metrics)
        keys = IngestKeys(config.ingest_keys, new_bucket=process.new_bucket)
        ingest = IngestApi(appender, access, config, streaming, keys=keys)
    console = Console(
        redis,
        mirror,
        metrics,
        health,
        streaming=streaming or StreamingConfig(),
        indexer=settings.indexer,
        indexes=indexes.names,
    )
    console_api = ConsoleApi(console, access)
    app = create_app(api, metrics, health, ingest)
    add_console(app, console_api, console, metrics)
    sampler = FigureSampler(redis, mirror, metrics, writes=process.writes_history)
    follower.start()
    arm_followers.start()
    sampler.start()
    try:
        process.run(uvicorn_config(app, config, metrics), console_api.stop)
    finally:
        sampler.stop()
        follower.stop()
        arm_followers.stop()
        console_api.close()
        redis.close()
        following.close()
        api.close()
        if ingest is not None:
            ingest.close()


class UvicornServer(uvicorn.Server):
    """Uvicorn server that says when it listens and when it stops, and returns after a signal, raising it no more."""

    def __init__(
        self, config: uvicorn.Config, on_start: Callable[[], None], on_stop: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        self._on_start, self._on_stop = on_start, on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop in order."""
        self._on_stop()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._on_start()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals inside."""
        handlers = self.signal_handlers()
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def signal_handlers(self) -> dict[signal.Signals, Callable[[int, FrameType | None], None]]:
        """Return what is done at which signal: the first one stops in order, a second one at once."""
        return {signal.SIGTERM: self._stop, signal.SIGINT: self._stop}

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
