"""The report tells one story per drift, from what the audit trail holds."""

from __future__ import annotations

from typing import Any

from hsnn.indexer.admin.drift_report import find_alarm, find_incidents, make_report
from hsnn.monitoring.audit import AuditEntry, AuditTrail

HOUR = 3_600_000
NOON = 1_700_000_000_000


def alarm(kind: str, ts: int, **detail: Any) -> AuditEntry:
    facts = {"ts": ts, "value": 6.0, "threshold": 5.5, "text": f"{kind} rose"} | detail
    return AuditEntry(at=ts, event="alarm", kind=kind, alarm=f"{kind}:{ts}", detail=facts)


def outcome(of: AuditEntry, event: str = "outcome", **fields: Any) -> AuditEntry:
    return AuditEntry(at=of.at + 1000, event=event, kind=of.kind, alarm=of.alarm, **fields)


def test_alarms_that_are_near_in_stream_time_are_one_incident() -> None:
    entries = [alarm("a", NOON), alarm("b", NOON + HOUR), alarm("a", NOON + 9 * HOUR)]
    incidents = find_incidents(entries)
    assert [[entry.kind for entry in incident.alarms] for incident in incidents] == [["a", "b"], ["a"]]


def test_the_story_names_signal_start_segment_causes_actions_and_effect(store: Any, jobs: Any, toy: Any) -> None:
    toy.snapshot()
    version = jobs.refresh()
    first = alarm("model_loss", version.created_at, since=NOON, segment="device=tv: 3% -> 21%", also=["an import"])
    entries = [
        AuditEntry(at=first.at - 60_000, event="hold", outcome="done", detail={"reason": "a test"}),
        first,
        outcome(first, action="rates", outcome="done"),
        outcome(
            first,
            event="effect",
            action="rates",
            outcome="helped",
            detail={"before": 6.0, "after": 5.0, "low": 0.8, "high": 1.2},
        ),
        outcome(first, event="confirm", outcome="done", detail={"by": "ann"}),
    ]
    ((heading, lines),) = make_report(store, 0, entries).incidents
    assert heading == "2023-11-14 22:13:20 (stream time): model_loss"
    assert lines[0] == f"model_loss (model_loss:{first.detail['ts']}): model_loss rose (from 2023-11-14 22:13:20 on)"
    assert lines[1] == "The segment that moved most: device=tv: 3% -> 21%"
    assert lines[2] == "At that time: an import; version 1 was published (first); hold: a test"
    assert lines[3].endswith("rates: done")
    assert lines[4].endswith("rates: helped; 6 before, 5 after, better by 0.8 to 1.2 (95%)")
    assert lines[5].endswith("confirmed by ann")


def test_only_what_is_young_enough_is_told_and_markup_is_escaped(store: Any) -> None:
    entries = [alarm("old", NOON), alarm("new", NOON + 9 * HOUR, segment="<b>=1: 0% -> 9%")]
    report = make_report(store, NOON + HOUR, entries)
    assert "old" not in report.text()
    assert "&lt;b&gt;=1" in report.html()
    assert "<b>" not in report.html()
    assert make_report(store, 0, []).text() == "no alarm is on record"


def test_an_alarm_is_found_by_its_id(store: Any) -> None:
    trail = AuditTrail(store.redis, store.key("audit"))
    trail.record("alarm", kind="model_loss", alarm="model_loss:7", ts=7)
    assert find_alarm(store, "model_loss:7").kind == "model_loss"
    assert find_alarm(store, "model_loss:8") is None
