"""``hsnn index``: what the live index is like, whether it is whole, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hsnn.cli import views as views
from hsnn.cli.jobs import jobs_app
from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.config.schema import Config
from hsnn.indexer.admin import operations
from hsnn.indexer.admin.diff import diff_versions
from hsnn.indexer.admin.export import write_export
from hsnn.indexer.admin.stats import version_stats
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.publish_hold import current_hold, epoch_differs
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.verify.verify import verify as verify_version
from hsnn.streaming.redis.client import connect

index_app = typer.Typer(
    name="index", help="Index: show, verify, compare, export it; its jobs; the way back.", no_args_is_help=True
)
index_app.add_typer(jobs_app, name="jobs")

Version = Annotated[int, typer.Argument(metavar="VERSION", help="a version that is still kept")]
MaybeVersion = Annotated[int | None, typer.Argument(metavar="[VERSION]", help="a kept version; the one in use")]
Reason = Annotated[str, typer.Option("--reason", help="say why, for those who come later")]
_PATIENCE = 2.0  # as many times indexer.item_sweep may an item be due before it counts as forgotten


@index_app.command("versions")
def versions(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """List the versions that are kept, oldest first; readers use the one with a star."""
    reader = IndexReader(connect(_config(config, overrides).redis.url))
    current = reader.current()
    for number in sorted(reader.versions()):
        found = reader.manifest(number)
        star = "*" if number == current else " "
        typer.echo(f"{star} {number:>6}  {found.items:>9} items  {found.events:>12} events  {found.reason}")
    if (held := current_hold(reader)) is not None:
        typer.echo(views.hold_text(held, epoch_differs(reader)))


@index_app.command("show")
def show(number: MaybeVersion = None, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Show a version: its manifest, items and nodes, age, deltas, memory in Redis."""
    reader = IndexReader(connect(_config(config, overrides).redis.url))
    Console().print(views.portrait_table(version_stats(reader, _chosen(reader, number))))


@index_app.command("verify")
def verify(
    number: MaybeVersion = None,
    repair: Annotated[bool, typer.Option("--repair", help="mend what is found, under the lease")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Check a version: base and deltas against the item map, the catalogue and the expiry rule; status 1 if damaged."""
    chosen = _config(config, overrides)
    redis = connect(chosen.redis.url)
    reader = IndexReader(redis)
    version = _chosen(reader, number)
    report = verify_version(reader, version, _PATIENCE * chosen.indexer.item_sweep)
    typer.echo(views.verify_text(report))
    if repair and not report.clean:
        from hsnn.indexer.admin.repair import repair as mend  # not at the top: it needs torch

        _, report = mend(redis, version, chosen.indexer)
        typer.echo(f"\nafter the repair: {views.verify_text(report)}")
    if not report.clean:
        raise typer.Exit(1)


@index_app.command("diff")
def diff(
    before: Annotated[int, typer.Argument(metavar="A", help="a kept version")],
    after: Annotated[int, typer.Argument(metavar="B", help="another one")],
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Compare two versions: items of one only, items that moved, nodes that changed most."""
    reader = IndexReader(connect(_config(config, overrides).redis.url))
    views.print_comparison(Console(), before, after, diff_versions(reader, before, after))


@index_app.command("export")
def export(
    number: Version,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="to write; .npz or .safetensors")],
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Write ids, nodes, vectors and representatives of a version to a file, and a JSON manifest beside it."""
    reader = IndexReader(connect(_config(config, overrides).redis.url))
    manifest = write_export(reader, number, file)
    typer.echo(f"{manifest.items:,} items of version {number} are in {file}, described in {file}.json")


@index_app.command("rollback")
def rollback(
    number: Version,
    hold: Annotated[bool, typer.Option("--hold", help="and make no new version until `hsnn index release`")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Flip readers back to an older version, beside running processes."""
    chosen = _config(config, overrides)
    reason = f"rolled back to version {number}" if hold else ""
    operations.rollback(connect(chosen.redis.url), number, chosen.indexer, reason)
    after = "until `hsnn index release`" if hold else "until the trainer's next snapshot"
    typer.echo(f"readers use version {number} again, {after}")


@index_app.command("hold")
def hold(
    reason: Reason,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Make no new version until `release`; new and expired items go on being told."""
    reader = IndexReader(connect(_config(config, overrides).redis.url))
    held = operations.hold_publishing(reader.redis, reason)
    typer.echo(views.hold_text(held, epoch_differs(reader)))


@index_app.command("release")
def release(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """End the hold; the newest snapshot becomes a version."""
    lifted = operations.release_publishing(connect(_config(config, overrides).redis.url))
    typer.echo("publishing goes on" if lifted else "publishing was not held")


def _config(file: Path | None, overrides: list[str] | None) -> Config:
    return settings(file, overrides).config


def _chosen(reader: IndexReader, number: int | None) -> int:
    chosen = reader.current() if number is None else number
    if chosen is None:
        raise VersionNotFoundError("there is no version yet: the first one is made of the trainer's first snapshot")
    return chosen
