"""``hsnn drift``: report alarms and their causes; confirm, dismiss, snooze them; recommended rules."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from hsnn.cli.control import let_items_leave
from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.indexer.admin.drift_report import find_alarm, make_report
from hsnn.indexer.jobs.action_policy import snooze as snooze_kind
from hsnn.indexer.store.lease import default_owner
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.duration import parse_duration
from hsnn.streaming.redis.client import connect
from hsnn.trainer.features.mass_expiry import ALARM as MASS_EXPIRY

drift_app = typer.Typer(
    name="drift", help="Drift: alarms and their causes; confirm, dismiss, snooze; rules.", no_args_is_help=True
)
AlarmId = Annotated[str, typer.Argument(metavar="ALARM", help="its id, as `hsnn drift report` shows it")]


def _duration(text: str) -> float:
    try:
        return parse_duration(text if not text.replace(".", "", 1).isdigit() else float(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@drift_app.command("report")
def report(
    since: Annotated[str, typer.Option("--since", metavar="SPAN", help="how far back, such as 6h")] = "1d",
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="write a page instead")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Say for each drift which signals moved, since when, where most, what else happened, and what was done."""
    found = make_report(_reader(config, overrides), round(1000 * (time.time() - _duration(since))))
    if html is None:
        typer.echo(found.text())
    else:
        html.write_text(found.html(), "utf-8")
        typer.echo(f"{len(found.incidents)} incidents are in {html}")


@drift_app.command("rules")
def rules() -> None:
    """Print the recommended rules for alarms of signals, to be pasted into the configuration file."""
    from hsnn.monitoring.watching.recommended_rules import recommended_rules  # not at the top: it needs SciPy

    typer.echo("[monitoring.rules]")
    for kind, action in recommended_rules().items():
        typer.echo(f'{kind} = "{action}"')


@drift_app.command("confirm")
def confirm(alarm: AlarmId, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Put on record that an alarm was right. Items that are held because so many expire at once leave then."""
    loaded = settings(config, overrides).config
    reader = IndexReader(connect(loaded.redis.url))
    kind = _kind_of(reader, alarm)
    facts = {"until": let_items_leave(loaded)} if kind == MASS_EXPIRY else {}
    _judge(reader, "confirm", alarm, kind, **facts)


@drift_app.command("dismiss")
def dismiss(alarm: AlarmId, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Put on record that an alarm was false. Nothing else changes: held items stay held."""
    reader = _reader(config, overrides)
    _judge(reader, "dismiss", alarm, _kind_of(reader, alarm))


@drift_app.command("snooze")
def snooze(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="kind of alarms, such as model_loss")],
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="such as 6h; 0 ends it")] = "1h",
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Have alarms of a kind cause no action for a while; they stay on record."""
    reader, seconds = _reader(config, overrides), _duration(span)
    snooze_kind(reader, kind, time.time() + seconds if seconds else 0.0)
    AuditTrail(reader.redis, reader.key("audit")).record(
        "snooze", kind=kind, outcome="done", seconds=seconds, by=default_owner()
    )
    typer.echo(f"alarms of kind {kind} cause {'no action for ' + span if seconds else 'actions again'}")


def _kind_of(reader: IndexReader, alarm: str) -> str:
    found = find_alarm(reader, alarm)
    if found is None:
        raise typer.BadParameter(f"no alarm {alarm!r} is on record; `hsnn drift report` shows those that are")
    return str(found.kind)


def _judge(reader: IndexReader, verdict: str, alarm: str, kind: str, **facts: Any) -> None:
    AuditTrail(reader.redis, reader.key("audit")).record(
        verdict, kind=kind, alarm=alarm, outcome="done", by=default_owner(), **facts
    )
    typer.echo(f"{verdict}: {alarm}")


def _reader(config: ConfigFile, overrides: Overrides) -> IndexReader:
    return IndexReader(connect(settings(config, overrides).config.redis.url))
