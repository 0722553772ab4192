"""``hsnn redis``: one Redis-protocol server on loopback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from hsnn.embedded.redis import EmbeddedRedis
from hsnn.monitoring.process.signals import stop_on_signals

redis_app = typer.Typer(name="redis", help="One Redis-protocol server on loopback.", no_args_is_help=True)


@redis_app.callback()
def group() -> None:
    """One Redis-protocol server on loopback."""


@redis_app.command("start")
def start_command(
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
