"""``hsnn kafka``: one Apache Kafka broker on loopback, for tests and demos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsnn.embedded.kafka import fetch, main

kafka_app = typer.Typer(
    name="kafka", help="One Apache Kafka broker on loopback, for tests and demos.", no_args_is_help=True
)


@kafka_app.command("fetch")
def fetch_command() -> None:
    """Download the broker's jar files with Maven, once, and print their folder."""
    typer.echo(fetch())


@kafka_app.command("start")
def start_command(
    port: Annotated[int, typer.Option(help="port of the broker")] = 9092,
    data: Annotated[Path | None, typer.Option(help="folder of its data; a temporary one")] = None,
) -> None:
    """Run one Apache Kafka broker on loopback until Ctrl+C or `hsnn kafka stop`; prints KAFKA_BOOTSTRAP=HOST:PORT."""
    raise typer.Exit(main(["start", "--port", str(port), *(["--data", str(data)] if data else [])]))


@kafka_app.command("stop")
def stop_command() -> None:
    """Stop the broker that `hsnn kafka start` runs."""
    raise typer.Exit(main(["stop"]))
