"""``hsnn produce``: send a data set into the event log."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.monitoring.process.signals import stop_on_signals
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets import DataError, load
from hsnn.streaming.errors import StreamingError
from hsnn.streaming.log.open import open_log
from hsnn.streaming.producer.produce import ProduceProgress
from hsnn.streaming.producer.produce import produce as send
from hsnn.streaming.producer.records import RecordFormat
from hsnn.streaming.producer.trainer_progress import trained_counter


def produce(
    data: Annotated[str, typer.Option("--data", metavar="NAME[:PATH]", help="data set to send")],
    log: Annotated[
        str | None,
        typer.Option("--log", metavar="URL", help="kafka://HOST:PORT or redis://HOST:PORT/DB; else streaming.log"),
    ] = None,
    speed: Annotated[str, typer.Option(help="'max', or a factor of event time such as 60x")] = "max",
    limit: Annotated[int | None, typer.Option(min=1, help="engagements to send")] = None,
    follow: Annotated[
        str | None, typer.Option(metavar="REDIS_URL", help="where the trainer writes its progress")
    ] = None,
    ahead: Annotated[
        int | None, typer.Option(min=1, help="most engagements in the log that are not learned yet")
    ] = None,
    form: Annotated[
        RecordFormat, typer.Option("--format", help="json: one event per record; arrow: many interactions in one")
    ] = "json",
    json_file: Annotated[Path | None, typer.Option("--json", help="write the counts here, while running too")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Send a data set into the log in event-time order; Ctrl+C stops after what was sent is safe."""
    if (follow is None) != (ahead is None):
        raise typer.BadParameter("--follow and --ahead belong together")
    streaming = settings(config, overrides).config.streaming
    try:
        done = run(
            data,
            log or streaming.log,
            streaming,
            speed=speed,
            limit=limit,
            follow=follow,
            ahead=ahead,
            json_file=json_file,
            form=form,
        )
    except (DataError, StreamingError, ValueError) as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(1) from error
    typer.echo(
        f"{'sent' if done.finished else 'stopped after'} {done.engagements:,} engagements, {done.items:,} items, "
        f"{done.users:,} users in {done.seconds:.1f} s ({done.events_per_second:,.0f} events/s)"
    )


def run(
    data: str,
    log: str,
    config: StreamingConfig,
    *,
    speed: str = "max",
    limit: int | None = None,
    follow: str | None = None,
    ahead: int | None = None,
    json_file: Path | None = None,
    form: RecordFormat = "json",
) -> ProduceProgress:
    """Load a data set, connect to the log and send it; stops at SIGINT or SIGTERM, at a second one at once.

    Raises
    ------
    DataError, StreamingError, ValueError
        The data set, the log or an option cannot be used.
    """
    with stop_on_signals() as stop:
        dataset = load(data, limit)
        opened = open_log(log)
        try:
            return send(
                dataset,
                opened,
                config=config,
                speed=speed,
                ahead=ahead,
                trained_count=None if follow is None else trained_counter(follow),
                progress=None if json_file is None else lambda produced: _write(json_file, produced),
                stop=stop.is_set,
                form=form,
            )
        finally:
            opened.close()


def _write(path: Path, produced: ProduceProgress) -> None:
    # Written to a temporary file and renamed, so that a reader never sees half of it.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({**asdict(produced), "events_per_second": round(produced.events_per_second, 1)}))
    temporary.replace(path)
