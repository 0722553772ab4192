"""``hsnn checkpoint``: list, inspect, verify, export and digest the checkpoints in the trainer's folder."""

from __future__ import annotations

import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from hsnn.cli.formatting import age, utc
from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.trainer.checkpoint.digest import LEFT_OUT, digest, parts
from hsnn.trainer.checkpoint.export import export
from hsnn.trainer.checkpoint.renamed_parts import in_old_names
from hsnn.trainer.checkpoint.store import Checkpoint, CheckpointStore, Manifest
from hsnn.trainer.checkpoint.verify import (
    CheckpointSummary,
    array_facts,
    find_checkpoint,
    find_damage,
    list_checkpoints,
    open_store,
)

checkpoint_app = typer.Typer(
    name="checkpoint",
    help="Checkpoints: list, inspect, verify, export, digest.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="a checkpoint, by name or number")]
Newest = Annotated[str | None, typer.Argument(metavar="[NAME]", help="a checkpoint, by name or number; the newest")]
All = Annotated[str | None, typer.Argument(metavar="[NAME]", help="a checkpoint, by name or number; all of them")]
Parts = Annotated[bool, typer.Option("--parts", help="print a digest per array and value: where do two runs differ")]


class PartNames(StrEnum):
    """Whose names of arrays and values are printed."""

    NEW = "new"
    OLD = "old"


Names = Annotated[PartNames, typer.Option("--names", help="with --parts: old prints the names of format 1")]


@checkpoint_app.command("list")
def list_command(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """List the checkpoints, oldest first; checks manifests and file sizes only."""
    store = _store(config, overrides)
    checkpoints = list_checkpoints(store)
    if not checkpoints:
        _say(f"no checkpoints in {store.folder}")
        return
    table = Table(Column("name", no_wrap=True), "state", title=escape(str(store.folder)))
    for name in ("events", "watermark (UTC)", "size", "age"):
        table.add_column(name, justify="right", overflow="fold")
    for checkpoint in checkpoints:
        table.add_row(*_row(checkpoint))
    Console().print(table)
    for checkpoint in checkpoints:
        if checkpoint.damage:
            _say(checkpoint.damage, "red")


@checkpoint_app.command("inspect")
def inspect_command(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Show what a checkpoint holds: manifest, counts, positions in the log, and every array."""
    store = _store(config, overrides)
    name = find_checkpoint(store, name)
    manifest = store.manifest(name)
    values = store.values(name, manifest)
    for title, facts in (("manifest", _facts(manifest)), ("model", manifest.model), ("counts", _counts(values))):
        Console().print(_two_columns(f"{name} · {title}", facts))
    Console().print(_positions(values["consumer"]["places"]))
    Console().print(_arrays(store, name))


@checkpoint_app.command("verify")
def verify_command(name: All = None, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Compare the SHA-256 of every file with the manifest's; exit status 1 if anything is damaged."""
    store = _store(config, overrides)
    wanted = find_checkpoint(store, name)
    outcomes: Counter[str] = Counter()
    for checkpoint in store.names() if name is None else [wanted]:
        problems = find_damage(store, checkpoint)
        if problems and checkpoint not in store.names():
            continue  # a running trainer has deleted it meanwhile, as one too many
        outcomes["damaged" if problems else "whole"] += 1
        for text in problems or [f"{checkpoint} is whole"]:
            _say(text, "red" if problems else None)
    _say(f"{outcomes['whole']} whole, {outcomes['damaged']} damaged")
    if outcomes["damaged"]:
        raise typer.Exit(1)


@checkpoint_app.command("export")
def export_command(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="safetensors file to write, never over another")],
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Write the weights of a checkpoint alone into one safetensors file."""
    weights = export(_read(_store(config, overrides), name), file)
    size = sum(array.nbytes for array in weights.values())
    _say(f"wrote {len(weights)} arrays, {size:,} bytes, to {file}")


@checkpoint_app.command("digest")
def digest_command(
    name: Newest = None,
    only_parts: Parts = False,
    names: Names = PartNames.NEW,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Print one SHA-256 of everything training depends on; two runs over the same log have the same."""
    checkpoint = _read(_store(config, overrides), name)
    if only_parts:
        lines = parts(checkpoint.arrays, checkpoint.values)
        for line in in_old_names(lines) if names == PartNames.OLD else lines:
            typer.echo(line)
        return
    typer.echo(f"{digest(checkpoint.arrays, checkpoint.values)}  {checkpoint.name}")
    typer.echo("left out, for the wall clock:")
    for left_out, meaning in LEFT_OUT.items():
        typer.echo(f"  {left_out}: {meaning}")


def _store(config: Path | None, overrides: list[str] | None) -> CheckpointStore:
    return open_store(settings(config, overrides).config.trainer.checkpoint_dir)


def _read(store: CheckpointStore, name: str | None) -> Checkpoint:
    return store.read(find_checkpoint(store, name))


def _row(checkpoint: CheckpointSummary) -> list[str]:
    state = (
        "[red]damaged"
        if checkpoint.damage
        else "whole, held"
        if checkpoint.manifest and checkpoint.manifest.held
        else "whole"
    )
    known = (
        ["?", "?"]
        if checkpoint.manifest is None
        else [f"{checkpoint.manifest.events:,}", utc(checkpoint.manifest.watermark)]
    )
    return [checkpoint.name, state, *known, f"{checkpoint.bytes:,} B", age(time.time() - checkpoint.written_at)]


def _facts(manifest: Manifest) -> dict[str, Any]:
    files = {file: f"{entry.bytes:,} B, SHA-256 {entry.sha256}" for file, entry in manifest.files.items()}
    return {
        "events": f"{manifest.events:,}",
        "watermark": utc(manifest.watermark),
        "threads": manifest.threads,
        "config digest": manifest.config_digest,
        "held back": manifest.held or "no",
        **files,
        "seal": manifest.seal,
    }


def _counts(values: dict[str, Any]) -> dict[str, Any]:
    learner = values["learner"]
    sizes: dict[str, Any] = {name: learner[name] for name in ("items", "users", "steps")}
    return {**sizes, **values["progress"], "index learner": learner["index_learner"]}


def _positions(places: list[list[Any]]) -> Table:
    table = Table("topic", title="next record, and event in it")
    for name in ("partition", "offset", "index"):
        table.add_column(name, justify="right", overflow="fold")
    for topic, partition, offset, index, *_ in places:
        table.add_row(str(topic), str(partition), f"{offset:,}", str(index))
    return table


def _arrays(store: CheckpointStore, name: str) -> Table:
    facts = array_facts(store, name)
    table = Table(
        *(Column(name, overflow="fold") for name in ("array", "dtype", "shape")), title=f"{len(facts)} arrays"
    )
    table.add_column("bytes", justify="right", overflow="fold")
    for array in facts:
        table.add_row(array.name, array.dtype, " x ".join(map(str, array.shape)) or "()", f"{array.bytes:,}")
    table.add_section()
    table.add_row("all", "", "", f"{sum(array.bytes for array in facts):,}")
    return table


def _two_columns(title: str, rows: dict[str, Any]) -> Table:
    table = Table(Column(overflow="fold"), Column(overflow="fold"), title=title, show_header=False)
    for name, value in rows.items():
        table.add_row(name, f"{value:,}" if type(value) is int else escape(str(value)))
    return table


def _say(text: str, colour: str | None = None) -> None:
    typer.secho(text, fg=colour, err=colour is not None)
