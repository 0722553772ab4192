"""``hsnn dlq``: list, show and replay dead letters, the events that could not be decoded or were not plausible."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from hsnn.cli.formatting import utc
from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.streaming.dead_letters.editing import as_lines, read_edited
from hsnn.streaming.dead_letters.preview import preview
from hsnn.streaming.dead_letters.reader import (
    DeadLetterFilter,
    StoredDeadLetter,
    count_dead_letters,
    read_dead_letters,
    topics_with_dead_letters,
)
from hsnn.streaming.dead_letters.replay import REPLAYED, ReplayReport, read_replayed, replay, select_replayable
from hsnn.streaming.dead_letters.writer import SUFFIX
from hsnn.streaming.errors import EditingError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import mask_secrets, open_log

dlq_app = typer.Typer(
    name="dlq",
    help="Dead letters: list, show, replay.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

# Letters that are edited at once: a file that an editor opens and a person can look through.
_MOST_EDITED = 10_000

Topic = Annotated[str | None, typer.Option("--topic", help="only letters of this topic, such as engagements")]
Reason = Annotated[str | None, typer.Option("--reason", help="only letters with this reason")]
Partition = Annotated[int | None, typer.Option("--partition", min=0, help="only events of this partition of the topic")]
Offset = Annotated[int | None, typer.Option("--offset", min=0, help="only events at this offset of the topic")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="show so many letters at most")]
Width = Annotated[int, typer.Option("--bytes", min=1, help="show so many bytes of a key, value or header at most")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object per line, with whole keys and values in base64")]
Edit = Annotated[
    bool, typer.Option("--edit", help="change the values in $EDITOR first; letters whose line is deleted stay")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="count what would be sent, and send nothing")]


@dlq_app.command("list")
def list_command(topic: Topic = None, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Count the dead letters per topic and reason, with the times of the first and the last."""
    with _open_letters(topic, config, overrides) as (log, topics, address):
        counts = count_dead_letters(read_dead_letters(log, topics), read_replayed(log, topics))
    if not counts:
        typer.echo(f"no dead letters in {address}")
        return
    table = Table(
        *(Column(name, overflow="fold") for name in ("topic", "reason")), title=escape(f"Dead letters in {address}")
    )
    for name in ("letters", "replayed", "first (UTC)", "last (UTC)"):
        table.add_column(name, justify="right", overflow="fold")
    for count in counts:
        numbers = f"{count.letters:,}", f"{count.replayed:,}", utc(count.first), utc(count.last)
        table.add_row(escape(count.topic), escape(_printable(count.reason)), *numbers)
    Console().print(table)


@dlq_app.command("show")
def show_command(
    topic: Topic = None,
    reason: Reason = None,
    partition: Partition = None,
    offset: Offset = None,
    limit: Limit = 20,
    width: Width = 200,
    as_json: Json = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Show dead letters, oldest first per partition; exit status 1 if none matches."""
    wanted = DeadLetterFilter(reason, partition, offset)
    with _open_letters(topic, config, overrides) as (log, topics, address):
        matches = list(islice(filter(wanted.matches, read_dead_letters(log, topics)), limit))
    for letter in matches:
        typer.echo(json.dumps(_as_json(letter, width)) if as_json else _as_text(letter, width))
    if not matches:
        typer.echo(f"no dead letter in {address} matches", err=True)
        raise typer.Exit(1)


@dlq_app.command("replay")
def replay_command(
    topic: Topic = None,
    reason: Reason = None,
    partition: Partition = None,
    offset: Offset = None,
    edit: Edit = False,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Send dead letters back to their topics, each once; exit status 1 if a selected one cannot be sent."""
    wanted = DeadLetterFilter(reason, partition, offset)
    with _open_letters(topic, config, overrides) as (log, topics, _):
        edited = _edit_values(select_replayable(log, topics, wanted)) if edit else None
        account = replay(log, topics, wanted, edited=edited, dry_run=dry_run)
    _print_account(account, dry_run)
    if account.not_replayable:
        raise typer.Exit(1)


def _edit_values(letters: list[StoredDeadLetter]) -> dict[str, bytes | None]:
    """Let the user change the values of letters in an editor; return what is to be sent, by identity."""
    if len(letters) > _MOST_EDITED:
        raise EditingError(
            f"{len(letters):,} letters are selected, and at most {_MOST_EDITED:,} fit into an editor; select fewer "
            "with --topic, --reason, --partition or --offset"
        )
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", suffix=".jsonl", prefix="hsnn-letters-", delete=False
    ) as file:
        file.write(as_lines(letters))
    _open_editor(file.name)
    try:
        edited = read_edited(Path(file.name).read_text("utf-8"), letters)
    except EditingError as error:
        raise EditingError(f"{file.name}, {error}; nothing was sent, and the file is kept") from error
    Path(file.name).unlink()
    return edited


def _open_editor(path: str) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        subprocess.run([*shlex.split(editor), path], check=True)  # noqa: S603 - the user's own editor
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise EditingError(f"the editor {editor!r} failed ({error}); set EDITOR to one that works") from error


@contextmanager
def _open_letters(
    topic: str | None, config: Path | None, overrides: list[str] | None
) -> Iterator[tuple[EventLog, list[str], str]]:
    """Open the log; yield it, its topics with dead letters, and its address with passwords masked."""
    streaming = settings(config, overrides).config.streaming
    log = open_log(streaming.log)
    try:
        yield log, topics_with_dead_letters(log, streaming, topic), mask_secrets(streaming.log)
    finally:
        log.close()


def _print_account(account: ReplayReport, dry_run: bool) -> None:
    skipped = "".join(f" + {count:,} {reason}" for reason, count in sorted(account.skipped.items()))
    sent = account.replayed.total()
    typer.echo(f"{account.read:,} read = {sent:,} {'to be replayed' if dry_run else 'replayed'}{skipped}")
    for topic, count in account.replayed.items():
        typer.echo(f"  {count:,} to {topic}" + ("" if dry_run else f", remembered in {topic + REPLAYED}"))
    if sent and not dry_run:
        names = ", ".join(topic + SUFFIX for topic in account.replayed)
        typer.echo(f"an event that fails again is a new dead letter in {names}, with its new position")


def _as_text(letter: StoredDeadLetter, width: int) -> str:
    record = letter.record
    lines = {
        "reason": preview(f"{letter.reason}: {letter.detail}".encode(), 600),
        "written": f"{utc(record.sent_at)} UTC, {record.topic}/{record.partition} at {record.offset}",
        "key": preview(record.key, width),
        "value": preview(record.value, width),
    }
    if letter.truncated_from:
        lines["cut"] = f"the original value had {letter.truncated_from:,} bytes"
    lines |= {f"header {_printable(name)}": preview(value, width) for name, value in letter.headers}
    return "\n".join([_position(letter), *(f"  {name}: {text}" for name, text in lines.items())])


def _position(letter: StoredDeadLetter) -> str:
    if letter.foreign:
        return f"{letter.topic}, not a dead letter"
    event = "the whole record" if letter.index < 0 else f"event {letter.index}"
    return f"{letter.topic}/{letter.partition} at {letter.offset}, {event}"


def _as_json(letter: StoredDeadLetter, width: int) -> dict[str, Any]:
    record = letter.record
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "index": letter.index,
        "reason": letter.reason,
        "detail": letter.detail,
        "written_at": record.sent_at,
        "letter": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
        "truncated_from": letter.truncated_from or None,
        "headers": [{"name": name, **_bytes(value, width)} for name, value in letter.headers],
        "key": _bytes(record.key, width),
        "value": _bytes(record.value, width),
    }


def _bytes(value: bytes | None, width: int) -> dict[str, Any]:
    whole = None if value is None else base64.b64encode(value).decode()
    return {"preview": preview(value, width), "base64": whole}


def _printable(text: str) -> str:
    return preview(text.encode(errors="backslashreplace"), 80)
