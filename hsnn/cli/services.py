"""``hsnn train``, ``hsnn schedule``, ``hsnn serve``: the long-running processes."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.monitoring.process.log_format import LogFormat, log_to_stderr

PortFile = Annotated[Path | None, typer.Option(help="file to write the port to once the server listens on it")]

LogFormatOption = Annotated[LogFormat, typer.Option(help="log lines as text, or as JSON with ids")]


class LostOffsets(StrEnum):
    """What the trainer may do where the log no longer holds the next records."""

    fail = "fail"
    earliest = "earliest"
    latest = "latest"


def train(
    config: ConfigFile = None,
    overrides: Overrides = None,
    on_lost_offsets: Annotated[
        LostOffsets | None, typer.Option(help="if the log lost the next records: sets streaming.on_lost_offsets")
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="end the trainer that runs on this Redis, and go on in its place")
    ] = False,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Run the trainer: event log to model, states and snapshots. Stops at SIGTERM or Ctrl+C, a second one at once.

    Ends with status 3 if another trainer runs, or has taken over.
    """
    lost = [] if on_lost_offsets is None else [f"streaming.on_lost_offsets={on_lost_offsets.value}"]
    loaded = settings(config, [*(overrides or ()), *lost]).config
    _log_as("train", log_format)
    _check_layout(loaded.redis.url)
    from hsnn.trainer.online.loop import run  # after the configuration: a mistake in it must not wait for torch

    run(
        loaded.trainer,
        loaded.streaming,
        loaded.monitoring,
        redis_url=loaded.redis.url,
        digest=loaded.digest(),
        take_over=take_over,
    )


def schedule(
    config: ConfigFile = None, overrides: Overrides = None, log_format: LogFormatOption = LogFormat.TEXT
) -> None:
    """Run the scheduler: snapshots to index versions, new items to deltas. Stops at SIGTERM or Ctrl+C."""
    loaded = settings(config, overrides).config
    _log_as("schedule", log_format)
    _check_layout(loaded.redis.url)
    from hsnn.indexer.jobs.scheduler import run

    run(loaded.indexer, loaded.monitoring, loaded.redis.url, streaming=loaded.streaming)


def serve(
    config: ConfigFile = None,
    overrides: Overrides = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes that answer: sets serving.workers", show_default=False)
    ] = None,
    port_file: PortFile = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Run the server: retrieval over HTTP. Stops at SIGTERM or Ctrl+C, a second one at once."""
    several = [] if workers is None else [f"serving.workers={workers}"]
    loaded = settings(config, [*(overrides or ()), *several]).config
    _log_as("serve", log_format)
    _check_layout(loaded.redis.url)
    from hsnn.serving.api.server import ServerSettings

    if loaded.serving.workers > 1:
        from hsnn.serving.workers.server import run
    else:
        from hsnn.serving.api.server import run

    run(
        ServerSettings(
            loaded.serving,
            loaded.redis.url,
            port_file=port_file,
            stalled_after=loaded.monitoring.stalled_after,
            streaming=loaded.streaming,
            indexer=loaded.indexer,
        )
    )


def _check_layout(redis_url: str) -> None:
    """Refuse to start on what another release has written; a Redis that does not answer yet is no reason to."""
    import redis

    from hsnn.streaming.redis.client import connect
    from hsnn.streaming.redis.layout import check_layout

    try:
        client = connect(redis_url, socket_connect_timeout=1.0)
        try:
            check_layout(client)
        finally:
            client.close()
    except redis.RedisError as error:
        logging.getLogger(__name__).warning("the layout of the keys in Redis was not checked: %s", error)


def _log_as(role: str, log_format: LogFormat) -> None:
    log_to_stderr(role, log_format)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs every request
