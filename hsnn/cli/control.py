"""``hsnn control``: send commands to the trainer through the log, which orders them among the events."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.config.schema import Config
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.producer.commands import CommandSender
from hsnn.streaming.redis.client import connect
from hsnn.streaming.schema.commands import BoostRates, Command, End, Expire, Rebalance, SetRates

control_app = typer.Typer(
    name="control",
    help="Commands to the trainer: learning rates, rebalance, expiry, end of a stream.",
    no_args_is_help=True,
)
Nodes = Annotated[list[int] | None, typer.Option(min=0, help="a node; may be repeated")]
EventTime = Annotated[
    int | None, typer.Option("--at", min=0, metavar="MS", help="event time of the command; the trainer's watermark")
]

# Names of the commands on the screen.
_KINDS: dict[type[Command], str] = {
    SetRates: "rates",
    BoostRates: "boost",
    Rebalance: "rebalance",
    End: "end",
    Expire: "expire",
}


@control_app.command("rates")
def rates(
    dense_rate: Annotated[float | None, typer.Option(min=1e-9, max=100, help="of the dense weights")] = None,
    embedding_rate: Annotated[float | None, typer.Option(min=1e-9, max=100, help="of the embedding rows")] = None,
    at: EventTime = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Set learning rates from here on, restarts included; a rate that is not named stays as it is."""
    if dense_rate is None and embedding_rate is None:
        raise typer.BadParameter("name a rate: --dense-rate or --embedding-rate")
    loaded = settings(config, overrides).config
    _send(loaded, SetRates(_event_time(loaded, at), dense_rate, embedding_rate))


@control_app.command("boost")
def boost(
    factor: Annotated[float, typer.Option(min=0.1, max=10, help="of the learning rates; 1 ends a boost")],
    hours: Annotated[float, typer.Option(min=0, help="of stream time that it lasts")] = 1.0,
    at: EventTime = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Multiply the learning rates for some hours of stream time."""
    loaded = settings(config, overrides).config
    begin = _event_time(loaded, at)
    _send(loaded, BoostRates(begin, factor, begin + round(3_600_000 * hours)))


@control_app.command("rebalance")
def rebalance(
    split: Nodes = None,
    merge: Nodes = None,
    over: Annotated[float | None, typer.Option(min=1.01, help="split above so many times the mean")] = None,
    at: EventTime = None,
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

    loaded = settings(config, overrides).config
    reader = IndexReader(connect(loaded.redis.url))
    number = reader.current()
    if number is None:
        raise VersionNotFoundError("there is no version yet, so there are no nodes to rebalance")
    bounds = BalanceBounds.from_config(loaded.indexer)
    bounds = bounds if over is None else bounds._replace(over_mean=over, floor=0, starved=0.0)
    sizes = node_sizes(reader, number)
    found = UnbalancedNodes(tuple(split or ()), tuple(merge or ()))
    unknown = [node for node in (*found.split, *found.merge) if node >= len(sizes)]
    if unknown:
        raise typer.BadParameter(f"version {number} has nodes 0 to {len(sizes) - 1}, and no {unknown[0]}")
    if not any(found):
        found = find_unbalanced(sizes, bounds)
    if not any(found):
        typer.echo(f"version {number}: every node is within its bounds; nothing was sent")
        return
    typer.echo(f"version {number}: {len(found.split)} nodes to split, {len(found.merge)} to merge away")
    _send(loaded, make_command(reader.manifest(number), found, _event_time(loaded, at), bounds.over_mean))


@control_app.command("end")
def end(at: EventTime = None, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Declare that all events up to a time were sent: impressions wait no longer for actions up to then."""
    loaded = settings(config, overrides).config
    _send(loaded, End(_event_time(loaded, at)))


@control_app.command("expire")
def expire(
    until: Annotated[
        int | None,
        typer.Option(min=1, metavar="MS", help="event time up to which items leave; now, as quiet streams count it"),
    ] = None,
    at: EventTime = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Confirm that items whose time is over leave, though these are many at once (alarm `mass_expiry`)."""
    let_items_leave(settings(config, overrides).config, until, at)


def let_items_leave(config: Config, until: int | None = None, at: int | None = None) -> int:
    """Confirm a mass expiry; return the event time up to which items leave, epoch ms: now, unless told otherwise."""
    if until is None:
        arrival = IndexReader(connect(config.redis.url)).arrival()
        until = arrival.watermark + arrival.silent_ms
    _send(config, Expire(_event_time(config, at), until))
    typer.echo(f"items whose time ends by {until} leave")
    return until


def _send(config: Config, command: Command) -> None:
    CommandSender(config.streaming)(command)
    typer.echo(f"{_KINDS[type(command)]}: in topic {config.streaming.control_topic}, event time {command.ts}")


def _event_time(config: Config, at: int | None) -> int:
    """Return the event time of the command: the one asked for, or the trainer's watermark."""
    if at is not None:
        return at
    reader = IndexReader(connect(config.redis.url))
    watermark: Any = reader.redis.hget(reader.key("progress"), "watermark")
    return int(watermark or 0)
