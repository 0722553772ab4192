"""``hsnn kafka`` and ``hsnn redis``: one server on loopback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from hsnn.embedded.kafka import fetch, main
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.monitoring.process.signals import stop_on_signals

kafka_app = typer.Typer(
    name="kafka", help="One Apache Kafka broker on loopback, for tests and demos.", no_args_is_help=True
)

redis_app = typer.Typer(name="redis", help="One Redis-protocol server on loopback.", no_args_is_help=True)


@kafka_app.command("fetch")
def fetch_kafka() -> None:
    """Download the broker's jar files with Maven, once, and print their folder."""
    typer.echo(fetch())


@kafka_app.command("start")
def start_kafka(
    port: Annotated[int, typer.Option(help="port of the broker")] = 9092,
    data: Annotated[Path | None, typer.Option(help="folder of its data; a temporary one")] = None,
) -> None:
    """Run one Apache Kafka broker on loopback until Ctrl+C or `hsnn kafka stop`; prints KAFKA_BOOTSTRAP=HOST:PORT."""
    raise typer.Exit(main(["start", "--port", str(port), *(["--data", str(data)] if data else [])]))


@kafka_app.command("stop")
def stop_kafka() -> None:
    """Stop the broker that `hsnn kafka start` runs."""
    raise typer.Exit(main(["stop"]))


@redis_app.callback()
def redis_group() -> None:
    """One Redis-protocol server on loopback."""


@redis_app.command("start")
def start_redis(
    port: Annotated[int, typer.Option(help="port of the server")] = 6379,
    data: Annotated[Path | None, typer.Option(help="folder of its append-only file; nothing is kept")] = None,
) -> None:
    """Run a Redis-protocol server (Valkey) on loopback until Ctrl+C; prints REDIS_URL=redis://127.0.0.1:PORT/0."""
    with stop_on_signals() as stop, EmbeddedRedis(port, data) as server:
        typer.echo(f"REDIS_URL={server.url}")
        while server.running and not stop.is_set():
            time.sleep(0.1)
        if not stop.is_set():
            typer.secho("the server ended by itself", err=True, fg="red")
            raise typer.Exit(1)
