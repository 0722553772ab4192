"""The commands themselves; what one needs is imported when it runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hsnn.cli.options import ConfigFile, Overrides, settings

PortFile = Annotated[Path | None, typer.Option(help="written with the port once it is listened on")]
DataSet = Annotated[str, typer.Option("--data", metavar="NAME[:PATH]", help="a data set; see `hsnn data list`")]


class LogKind(StrEnum):
    """The kinds of event log that the demo can start."""

    redis = "redis"
    kafka = "kafka"


class LostOffsets(StrEnum):
    """What the trainer may do where the log does not hold the next records."""

    fail = "fail"
    earliest = "earliest"
    latest = "latest"


def train(
    config: ConfigFile = None,
    overrides: Overrides = None,
    on_lost_offsets: Annotated[
        LostOffsets | None, typer.Option(help="if the log lost the next records: sets streaming.on_lost_offsets")
    ] = None,
) -> None:
    """Run the trainer: log to model, states and snapshots. Ends at SIGTERM or Ctrl+C, a second one at once."""
    lost = [] if on_lost_offsets is None else [f"streaming.on_lost_offsets={on_lost_offsets.value}"]
    chosen = settings(config, [*(overrides or ()), *lost]).config
    _log_to_stderr()
    from hsnn.trainer.online.loop import run

    run(chosen.trainer, chosen.streaming, chosen.monitoring, chosen.redis.url, chosen.digest())


def schedule(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Run the scheduler: snapshots to versions, items to deltas. Ends at SIGTERM or Ctrl+C."""
    chosen = settings(config, overrides).config
    _log_to_stderr()
    from hsnn.indexer.jobs.scheduler import run

    run(chosen.indexer, chosen.monitoring, chosen.redis.url, streaming=chosen.streaming)


def serve(config: ConfigFile = None, overrides: Overrides = None, port_file: PortFile = None) -> None:
    """Run the server: index to answers, over HTTP. Ends at SIGTERM or Ctrl+C."""
    chosen = settings(config, overrides).config
    _log_to_stderr()
    from hsnn.serving.api.server import run

    run(chosen.serving, chosen.redis.url, port_file, chosen.monitoring.stalled_after)


def evaluate(
    data: DataSet,
    config: ConfigFile = None,
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option(help="size of the model: sets trainer.model.preset")] = None,
    baselines: Annotated[str, typer.Option(help="what to compare with: all, none, or names with commas")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="runs, each with the next seed")] = 1,
    events: Annotated[int | None, typer.Option(min=1, help="first engagements of the data set; all")] = None,
    query_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="share of the events that are asked")] = 0.05,
    query_from: Annotated[float, typer.Option(min=0.0, help="first event asked; up to 1 a share of the stream")] = 0.5,
    query_to: Annotated[float, typer.Option(min=0.0, help="end of the pass; up to 1 a share of the stream")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
    report: Annotated[Path | None, typer.Option(help="write a Markdown report here, plots beside it")] = None,
) -> None:
    """Measure retrieval on a data set: test, then train, one pass, everything in one process."""
    preset = [] if model is None else [f"trainer.model.preset={model}"]
    loaded = settings(config, [*(overrides or ()), *preset]).config
    for file in (json_file, report):
        if file is not None and not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {file.absolute().parent} to write to")
    from hsnn.cli.evaluate import Task, evaluate_data

    task = Task(data, events, query_share, query_from, query_to, baselines, seeds)
    evaluate_data(loaded, task, json_file, report)


def demo(
    data: DataSet = "ml-100k",
    events: Annotated[int | None, typer.Option(min=1, help="engagements to send; all of them")] = None,
    log: Annotated[LogKind, typer.Option(help="which event log: Redis Streams or Apache Kafka")] = LogKind.redis,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep serving at the end, until Ctrl+C")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Watch the whole loop on real events: every role its own process, embedded services, about two minutes."""
    loaded = settings(config, overrides)
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {json_file.absolute().parent} to write the figures to")
    from rich.console import Console

    from hsnn.demo.run import Demo

    raise typer.Exit(Demo(loaded, data, events, log.value, Console()).run(json_file, keep))


def doctor(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Check this machine and what the configuration points to; exit status 1 if anything fails."""
    from hsnn.cli.doctor import examine, report

    findings = examine(settings(config, overrides).config)
    report(findings)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"hsnn {installed('hsnn')}")


def config_init(path: Annotated[Path, typer.Argument(help="file to write")] = Path("hsnn.toml")) -> None:
    """Write a file with every key at its default and explained; never over an existing one."""
    from hsnn.config.loader import ConfigError
    from hsnn.config.render import commented

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented())
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already; name another file or remove it first") from error
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    typer.echo(f"wrote {path}")


def config_show(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Print the effective configuration and where each value came from; passwords are hidden."""
    from hsnn.config.render import show

    typer.echo(show(settings(config, overrides)), nl=False)


def kafka_fetch() -> None:
    """Get the broker's jar files with Maven, once, and print their folder."""
    from hsnn.embedded.kafka import fetch

    typer.echo(fetch())


def kafka_start(
    port: Annotated[int, typer.Option(help="port of the broker")] = 9092,
    data: Annotated[Path | None, typer.Option(help="folder of its data; a temporary one")] = None,
) -> None:
    """Run one Apache Kafka broker on loopback until Ctrl+C or `hsnn kafka stop`; prints KAFKA_BOOTSTRAP=HOST:PORT."""
    from hsnn.embedded.kafka import main

    raise typer.Exit(main(["start", "--port", str(port), *(["--data", str(data)] if data else [])]))


def kafka_stop() -> None:
    """End the broker that `hsnn kafka start` runs."""
    from hsnn.embedded.kafka import main

    raise typer.Exit(main(["stop"]))


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its news are every request
