"""The story of each drift, from the audit trail: what moved, since when, where, what else happened, what was done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, NamedTuple

from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import VersionManifest
from hsnn.monitoring.audit import AuditEntry, AuditTrail

# Alarms that follow one another within this are one incident, milliseconds of stream time: one cause moves several
# signals, each found some windows later than the first.
_APART = 2 * 3_600_000

# What happened up to this long before an alarm may be its cause, milliseconds of wall time.
_BEFORE = 15 * 60_000

# Events of the audit trail that may be causes: changes made by people or by the gate.
_CAUSES = frozenset({"rollback", "hold", "release", "repair", "gate"})

_VERDICTS = {"confirm": "confirmed", "dismiss": "dismissed"}


class Incident(NamedTuple):
    """Alarms that belong together, oldest first, and all entries about them."""

    alarms: tuple[AuditEntry, ...]
    others: tuple[AuditEntry, ...]


def find_incidents(entries: Sequence[AuditEntry]) -> list[Incident]:
    """Group the alarms among entries of the trail, oldest first, by stream time."""
    groups: list[list[AuditEntry]] = []
    for entry in entries:
        if entry.event != "alarm" or "ts" not in entry.detail or entry.kind == "job_overrun":
            continue
        if groups and entry.detail["ts"] - groups[-1][-1].detail["ts"] <= _APART:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    incidents = []
    for group in groups:
        ids = {alarm.alarm for alarm in group}
        incidents.append(Incident(tuple(group), tuple(e for e in entries if e.alarm in ids and e.event != "alarm")))
    return incidents


def describe(incident: Incident, entries: Iterable[AuditEntry], versions: Sequence[VersionManifest]) -> list[str]:
    """Describe an incident in sentences: the signals, the segment, what else happened, actions and their outcome."""
    lines = []
    for alarm in incident.alarms:
        since = alarm.detail.get("since")
        begun = f"from {_utc(since)} on" if since else f"at {_utc(alarm.detail['ts'])}"
        lines.append(f"{alarm.kind} ({alarm.alarm}): {alarm.detail.get('text') or alarm.detail.get('value')} ({begun})")
    segments = list(dict.fromkeys(a.detail["segment"] for a in incident.alarms if a.detail.get("segment")))
    lines.append(
        f"The segment that moved most: {'; '.join(segments)}" if segments else "No segment moved more than the others"
    )
    also = list(dict.fromkeys(_also(incident, entries, versions)))
    lines.append(f"At that time: {'; '.join(also)}" if also else "Nothing else is on record for that time")
    lines += [f"{_utc(entry.at)} {_sentence(entry)}" for entry in incident.others if _is_told(entry)]
    return lines


def _is_told(entry: AuditEntry) -> bool:
    """Leave out what was to be done, which its outcome repeats, and that nothing was to be done."""
    return entry.event != "action" and not (entry.event == "outcome" and entry.action == "none")


def _also(incident: Incident, entries: Iterable[AuditEntry], versions: Sequence[VersionManifest]) -> Iterator[str]:
    for alarm in incident.alarms:
        yield from alarm.detail.get("also", [])
    first, last = incident.alarms[0].at - _BEFORE, incident.alarms[-1].at
    for before, version in zip([None, *versions], versions, strict=False):
        if first <= version.created_at <= last:
            yield f"version {version.version} was published ({version.reason})"
            if before is not None and before.config_digest != version.config_digest:
                yield f"the configuration changed before version {version.version}"
    for entry in entries:
        if entry.event in _CAUSES and first <= entry.at <= last:
            yield _sentence(entry)


def _sentence(entry: AuditEntry) -> str:
    if entry.event in _VERDICTS:
        return f"{_VERDICTS[entry.event]} by {entry.detail.get('by', 'an operator')}"
    if entry.event == "effect":
        facts = entry.detail
        if "before" not in facts:
            return f"{entry.action}: its effect is {entry.outcome}"
        return (
            f"{entry.action}: {entry.outcome}; {facts['before']:.4g} before, {facts['after']:.4g} after, better by "
            f"{facts['low']:.3g} to {facts['high']:.3g} (95%)"
        )
    if entry.event == "outcome":
        why = entry.detail.get("reason") or entry.detail.get("error")
        version = "" if entry.version is None else f", version {entry.version}"
        return f"{entry.action}: {entry.outcome}{version}{f' ({why})' if why else ''}"
    why = entry.detail.get("reason", "")
    version = "" if entry.version is None else f" of version {entry.version}"
    return f"{entry.event}{version}{f': {why}' if why else ''}"


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


# A command in a sentence, between backquotes, and what it becomes on a page.
_COMMAND, _CODE = re.compile("`([^`]+)`"), r"<code>\1</code>"


class DriftReport(NamedTuple):
    """Incidents, newest first: a heading and sentences each."""

    incidents: list[tuple[str, list[str]]]

    def text(self) -> str:
        """Render for a terminal."""
        if not self.incidents:
            return "no alarm is on record"
        return "\n\n".join(heading + "".join(f"\n  {line}" for line in lines) for heading, lines in self.incidents)

    def html(self) -> str:
        """Render as a page of its own, without scripts."""
        parts = []
        for heading, lines in self.incidents:
            items = "".join(f"<li>{_COMMAND.sub(_CODE, escape(line))}</li>" for line in lines)
            parts.append(f"<section><h2>{escape(heading)}</h2><ul>{items}</ul></section>")
        body = "".join(parts) or "<p>No alarm is on record.</p>"
        style = (
            ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
            "padding:0 1rem}h2{font-size:1.1rem}ul{padding-left:1.2rem}li{overflow-wrap:anywhere}"
        )
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width"><title>hsnn: drift</title>'
            f"<style>{style}</style></head><body><h1>Drift</h1>{body}</body></html>\n"
        )


def make_report(reader: IndexReader, since: int, entries: Sequence[AuditEntry] | None = None) -> DriftReport:
    """Report the incidents whose last alarm came after `since`, epoch ms of wall time."""
    if entries is None:
        entries = AuditTrail(reader.redis, reader.key("audit")).read(_READ)
    versions = [reader.manifest(number) for number in sorted(reader.versions())]
    found = [incident for incident in find_incidents(entries) if incident.alarms[-1].at >= since]
    return DriftReport([(_heading(incident), describe(incident, entries, versions)) for incident in reversed(found)])


# Entries of the trail that are read: more than `monitoring.audit_length` keeps by default.
_READ = 20_000


def _heading(incident: Incident) -> str:
    alarms = incident.alarms
    begun = min(alarm.detail.get("since") or alarm.detail["ts"] for alarm in alarms)
    kinds = list(dict.fromkeys(alarm.kind for alarm in alarms))
    return f"{_utc(begun)} (stream time): {', '.join(kinds)}"


def find_alarm(reader: IndexReader, name: str) -> Any:
    """Return the newest alarm on record with this id; None if there is none."""
    entries = AuditTrail(reader.redis, reader.key("audit")).read(_READ)
    return next((entry for entry in reversed(entries) if entry.event == "alarm" and entry.alarm == name), None)
