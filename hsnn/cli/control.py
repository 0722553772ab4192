"""``hsnn control``: commands to the trainer, through the log, met at a place in it like any event."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.config.schema import Config
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.producer.commands import CommandSender
from hsnn.streaming.redis.client import connect
from hsnn.streaming.schema.commands import Command, End, Rebalance, SetRates

control_app = typer.Typer(
    name="control", help="Commands to the trainer: learning rates, rebalance, end of a stream.", no_args_is_help=True
)
Leaf = Annotated[list[int] | None, typer.Option(min=0, help="a node; may be repeated")]
At = Annotated[int | None, typer.Option(min=0, metavar="MS", help="stream time to be met at; the trainer's watermark")]


@control_app.command("rates")
def rates(
    dense_rate: Annotated[float | None, typer.Option(min=1e-9, max=100, help="of the dense weights")] = None,
    embedding_rate: Annotated[float | None, typer.Option(min=1e-9, max=100, help="of the embedding rows")] = None,
    at: At = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Learn at other rates from here on, also after restarts; a rate that is not named stays as it is."""
    if dense_rate is None and embedding_rate is None:
        raise typer.BadParameter("name a rate: --dense-rate or --embedding-rate")
    chosen = _config(config, overrides)
    _send(chosen, SetRates(_time(chosen, at), dense_rate, embedding_rate))


@control_app.command("rebalance")
def rebalance(
    split: Leaf = None,
    merge: Leaf = None,
    over: Annotated[float | None, typer.Option(min=1.01, help="split above so many times the mean")] = None,
    at: At = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Split and merge nodes of the version in use; without any, those that are out of the configured bounds."""
    from hsnn.indexer.admin.stats import node_sizes
    from hsnn.indexer.jobs.rebalance import (  # not at the top: it needs torch
        BalanceBounds,
        UnbalancedNodes,
        find_unbalanced,
        make_command,
    )

    chosen = _config(config, overrides)
    reader = IndexReader(connect(chosen.redis.url))
    number = reader.current()
    if number is None:
        raise VersionNotFoundError("there is no version yet, so there are no nodes to rebalance")
    bounds = BalanceBounds.from_config(chosen.indexer)
    bounds = bounds if over is None else bounds._replace(over_mean=over, floor=0, starved=0.0)
    sizes = node_sizes(reader, number)
    found = UnbalancedNodes(tuple(split or ()), tuple(merge or ()))
    strange = [node for node in (*found.split, *found.merge) if node >= len(sizes)]
    if strange:
        raise typer.BadParameter(f"version {number} has nodes 0 to {len(sizes) - 1}, and no {strange[0]}")
    if not any(found):
        found = find_unbalanced(sizes, bounds)
    if not any(found):
        typer.echo(f"version {number}: every node is within its bounds; nothing was sent")
        return
    typer.echo(f"version {number}: {len(found.split)} nodes to split, {len(found.merge)} to merge away")
    _send(chosen, make_command(reader.manifest(number), found, _time(chosen, at), bounds.over_mean))


@control_app.command("end")
def end(at: At = None, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Say that all events up to a time were sent: shown items wait no longer for actions up to then."""
    chosen = _config(config, overrides)
    _send(chosen, End(_time(chosen, at)))


def _send(config: Config, command: Command) -> None:
    CommandSender(config.streaming)(command)
    kind = "rebalance" if isinstance(command, Rebalance) else "rates" if isinstance(command, SetRates) else "end"
    typer.echo(f"{kind}: in topic {config.streaming.control_topic}, to be met at {command.ts}")


def _time(config: Config, at: int | None) -> int:
    """Stream time of the command: as asked for, or as far as the trainer has come."""
    if at is not None:
        return at
    reader = IndexReader(connect(config.redis.url))
    watermark: Any = reader.redis.hget(reader.key("progress"), "watermark")
    return int(watermark or 0)


def _config(file: Path | None, overrides: list[str] | None) -> Config:
    return settings(file, overrides).config
