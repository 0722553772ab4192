"""``hsnn index``: show, verify, compare, export, roll back versions; hold publishing; fit an index to vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from hsnn.cli.formatting import first_names, time_span, utc
from hsnn.cli.jobs import hold_text, jobs_app
from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.config.schema import Config
from hsnn.indexer.admin import operations
from hsnn.indexer.admin.diff import VersionDiff, diff_versions
from hsnn.indexer.admin.export import write_export
from hsnn.indexer.admin.stats import VersionStats, version_stats
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.publish_hold import current_hold, epoch_differs
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.verify.verify import KINDS, VerifyReport
from hsnn.indexer.verify.verify import verify as verify_version
from hsnn.streaming.redis.client import connect

index_app = typer.Typer(
    name="index", help="Index: show, verify, compare, roll back; its jobs; fit one to vectors.", no_args_is_help=True
)
index_app.add_typer(jobs_app, name="jobs")

Version = Annotated[int, typer.Argument(metavar="VERSION", help="a version that is still kept")]
MaybeVersion = Annotated[int | None, typer.Argument(metavar="[VERSION]", help="a kept version; the one in use")]
Reason = Annotated[str, typer.Option("--reason", help="why, for the audit trail")]
# Multiple of indexer.item_sweep after which an item that should have been indexed or removed counts as missed:
# one sweep may just have begun, the second has had its full time.
_MISSED_AFTER_SWEEPS = 2.0

# Nodes listed by `diff`: about half a screen.
_NODES_SHOWN = 10


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
        typer.echo(hold_text(held, epoch_differs(reader)))


@index_app.command("show")
def show(number: MaybeVersion = None, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Show a version: its manifest, items and nodes, age, deltas, memory in Redis."""
    reader = IndexReader(connect(_config(config, overrides).redis.url))
    Console().print(_version_table(version_stats(reader, _chosen(reader, number))))


@index_app.command("verify")
def verify(
    number: MaybeVersion = None,
    repair: Annotated[bool, typer.Option("--repair", help="repair the damage, under the lease")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Check a version: base and deltas against the item map, the catalogue and the expiry rule; status 1 if damaged."""
    chosen = _config(config, overrides)
    redis = connect(chosen.redis.url)
    reader = IndexReader(redis)
    version = _chosen(reader, number)
    report = verify_version(reader, version, _MISSED_AFTER_SWEEPS * chosen.indexer.item_sweep)
    typer.echo(_verification_text(report))
    if repair and not report.clean:
        from hsnn.indexer.admin.repair import repair as repair_version  # not at the top: it needs torch

        _, report = repair_version(redis, version, chosen.indexer)
        typer.echo(f"\nafter the repair: {_verification_text(report)}")
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
    _print_comparison(Console(), before, after, diff_versions(reader, before, after))


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
    hold: Annotated[bool, typer.Option("--hold", help="and publish no new version until `hsnn index release`")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Switch readers back to an older version, while everything runs."""
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
    """Publish no new version until `release`; deltas with new and expired items go on."""
    reader = IndexReader(connect(_config(config, overrides).redis.url))
    held = operations.hold_publishing(reader.redis, reason)
    typer.echo(hold_text(held, epoch_differs(reader)))


@index_app.command("release")
def release(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """End the hold; the newest snapshot becomes the next version."""
    lifted = operations.release_publishing(connect(_config(config, overrides).redis.url))
    typer.echo("publishing goes on" if lifted else "publishing was not held")


@index_app.command("fit")
def fit(
    users: Annotated[Path, typer.Option("--users", help="user vectors (U, d); .npy or .safetensors")],
    items: Annotated[Path, typer.Option("--items", help="item vectors (n, d) of the same model")],
    pairs: Annotated[Path, typer.Option("--pairs", help="training engagements (m, 2): user row, item row")],
    out: Annotated[Path, typer.Option("--out", help="index to write; .safetensors")],
    scored: Annotated[float, typer.Option(help="share of the items that a search may score")] = 0.02,
    k: Annotated[int, typer.Option("-k", min=1, help="length of the answers that are compared")] = 20,
    passes: Annotated[int, typer.Option(min=1, help="passes over the users")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="of all that is random")] = 0,
) -> None:
    """Learn the levels of an index on the vectors of your own model, whose score is a dot product."""
    from hsnn.trainer.vector_index.command import fit_files  # not at the top: it needs torch

    if not 0 < scored <= 1:
        raise typer.BadParameter(f"--scored is {scored:g}; it is a share of the items, above 0 and up to 1")
    fit_files(
        users=users, items=items, pairs=pairs, out=out, say=typer.echo, share=scored, k=k, passes=passes, seed=seed
    )


def _version_table(found: VersionStats) -> Table:
    """Render the statistics of a version."""
    table = Table("", "", title=f"version {found.manifest.version}", show_header=False)
    for name, value in msgspec.to_builtins(found.manifest).items():
        table.add_row(name, utc(value) if name in ("created_at", "watermark") else str(value))
    sizes = found.sizes
    rows = {
        "in use": "yes" if found.current else "no",
        "items now": f"{sizes.items:,}",
        "nodes, fullest over mean": f"{sizes.max_over_mean:.2f}",
        "nodes, deviation over mean": f"{sizes.std_over_mean:.2f}",
        "nodes without items": f"{sizes.dead:,} of {sizes.nodes:,}",
        "age": time_span(found.age),
        "deltas since": f"{found.deltas:,}",
        **{f"bytes of {name}": f"{size:,}" for name, size in found.memory.items()},
        "bytes per item": f"{found.bytes_per_item:,.0f}",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _verification_text(report: VerifyReport) -> str:
    """Describe the result of a verification."""
    head = f"version {report.version}, {report.items:,} items in the map: {'clean' if report.clean else 'DAMAGED'}"
    lines = [head] + [
        f"  {kind:<10} {count:>7,}  {KINDS[kind]}: {first_names(getattr(report, kind))}"
        for kind, count in report.counts.items()
        if count
    ]
    if not report.catalogue_checked:
        lines.append("  not compared with the catalogue: readers use another version")
    return "\n".join(lines)


def _print_comparison(console: Console, before: int, after: int, found: VersionDiff) -> None:
    """Print how two versions differ."""
    lines = (
        f"only in {before}: {len(found.only_before):,}  {first_names(found.only_before)}",
        f"only in {after}: {len(found.only_after):,}  {first_names(found.only_after)}",
        f"in another node: {len(found.moved):,} of {found.common:,} in both ({found.share_moved:.1%})  "
        + first_names([f"{item} {old}->{new}" for item, (old, new) in found.moved.items()]),
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    table = Table(*("node", f"items in {before}", f"items in {after}", "came", "went"), title="most changed nodes")
    for change in found.nodes[:_NODES_SHOWN]:
        table.add_row(*map(str, change))
    if found.nodes:
        console.print(table)


def _config(file: Path | None, overrides: list[str] | None) -> Config:
    return settings(file, overrides).config


def _chosen(reader: IndexReader, number: int | None) -> int:
    chosen = reader.current() if number is None else number
    if chosen is None:
        raise VersionNotFoundError("there is no version yet: the first one is made of the trainer's first snapshot")
    return chosen
