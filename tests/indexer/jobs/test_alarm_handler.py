"""Alarms and their actions: what is done, what is not, who is told, and whether it helped."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hsnn.indexer.jobs.action_policy import ActionPolicy, snooze
from hsnn.indexer.jobs.alarm_actions import AlarmActions
from hsnn.indexer.jobs.alarm_handler import AlarmHandler
from hsnn.indexer.store.publish_hold import current_hold
from hsnn.monitoring.alarms import Alarm, AlarmRules
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import ActionsConfig
from hsnn.streaming.schema.commands import BoostRates

RULES = {
    "model_loss": "rates",
    "model_recall": "rollback",
    "users_rate": "hold",
    "items_arrivals": "notify",
    "mass_expiry": "notify",
}


class Desk:
    """A handler whose clock, commands and notifications are at hand."""

    def __init__(self, store: Any, leader: Any, jobs: Any, config: Any, **limits: Any) -> None:
        self.store, self.now, self.sent, self.told = store, 1_000_000.0, [], []  # type: ignore[var-annotated]
        self.audit = AuditTrail(store.redis, store.key("audit"))
        chosen = ActionsConfig(**limits)
        self.policy = ActionPolicy(store, chosen, self.audit, lambda: self.now)
        self.handler = AlarmHandler(
            store,
            AlarmRules(RULES),  # type: ignore[arg-type]
            self.audit,
            jobs.refresh_for,
            AlarmActions(leader, config, chosen, self.sent.append).by_name(),
            self.policy,
            self.tell,
            own=lambda: self.own,
        )
        self.own: list[Alarm] = []
        self.count = 0

    def tell(self, subject: str, facts: Any) -> dict[str, str]:
        self.told.append((subject, dict(facts)))
        return {}

    def alarm(self, kind: str, **more: Any) -> tuple[str, str, dict[str, Any]]:
        """Raise an alarm and handle it; return action, outcome and detail from the audit trail."""
        self.count += 1
        facts = {"ts": 7, "value": 6.0, "threshold": 5.5, "detail": "worse", "since": 5, "before": 5.0} | more
        alarm = Alarm(id=f"{kind}:{self.count}", kind=kind, **facts)
        self.store.redis.xadd(self.store.key("alarms"), {"d": alarm.encode()})
        assert self.handler.handle_all() == 1
        entry = next(entry for entry in reversed(self.audit.read()) if entry.event == "outcome")
        return entry.action, entry.outcome, entry.detail

    def progress(self, watermark: int, **signals: list[tuple[int, float]]) -> None:
        fields = {"watermark": watermark, "signals": msgspec.json.encode(signals)}
        self.store.redis.hset(self.store.key("progress"), mapping=fields)


@pytest.fixture
def desk(store: Any, leader: Any, jobs: Any, config: Any) -> Desk:
    return Desk(store, leader, jobs, config)


def test_what_only_some_detectors_tell_is_on_record(desk: Desk) -> None:
    desk.alarm("users_new_share", segment="device=tv: 3% -> 21%", also=("catalogue import",))
    alarm = next(entry for entry in desk.audit.read() if entry.event == "alarm")
    assert alarm.detail["since"] == 5
    assert alarm.detail["segment"] == "device=tv: 3% -> 21%"
    assert alarm.detail["also"] == ["catalogue import"]
    assert desk.told == [], "it has no rule"


def test_a_hold_stops_publishing_and_people_are_told(desk: Desk) -> None:
    assert desk.alarm("users_rate")[:2] == ("hold", "done")
    hold = current_hold(desk.store)
    assert hold is not None
    assert hold.reason == "alarm users_rate:1: worse"
    assert desk.told[0][0] == "users_rate: worse; hold: done"
    assert desk.told[0][1]["before"] == 5.0


def test_a_rollback_returns_to_the_version_before_and_holds(desk: Desk, leader: Any, jobs: Any, toy: Any) -> None:
    assert desk.alarm("model_recall")[1] == "failed", "there is nothing to return to"
    desk.now += 3600
    for _ in range(2):
        toy.snapshot()
        jobs.refresh()
    action, outcome, _ = desk.alarm("model_recall")
    assert (action, outcome, desk.store.current()) == ("rollback", "done", 1)
    assert current_hold(desk.store) is not None
    toy.put("new", 1)
    leader.apply_entries(*_new_entries(leader, desk.store))
    assert leader.live.number == 1


def _new_entries(leader: Any, store: Any) -> tuple[Any, list[Any]]:
    catalogue, _ = leader.read_positions()
    return catalogue, []


def test_rates_are_raised_for_a_while_of_stream_time(desk: Desk) -> None:
    assert desk.alarm("model_loss")[:2] == ("rates", "done")
    assert desk.sent == [BoostRates(0, 3.0, 3_600_000)]


def test_limits_and_cool_down(desk: Desk) -> None:
    assert desk.alarm("model_loss")[1] == "done"
    assert desk.alarm("model_loss")[1] == "cool down"
    for _ in range(3):
        desk.now += 601
        assert desk.alarm("model_loss")[1] == "done"
    desk.now += 601
    assert desk.alarm("model_loss")[1] == "limit"
    desk.now += 3600
    assert desk.alarm("model_loss")[1] == "done"
    assert desk.alarm("items_arrivals")[1] == "noted", "to notify harms nobody"


def test_snoozed_kinds_cause_nothing_until_the_time_is_over(desk: Desk) -> None:
    snooze(desk.store, "model_loss", desk.now + 60)
    assert desk.alarm("model_loss")[1] == "snoozed"
    desk.now += 61
    assert desk.alarm("model_loss")[1] == "done"


def test_a_dry_run_records_and_does_nothing(store: Any, leader: Any, jobs: Any, config: Any) -> None:
    desk = Desk(store, leader, jobs, config, dry_run=True)
    assert desk.alarm("users_rate")[:2] == ("hold", "dry run")
    assert current_hold(store) is None


@pytest.mark.parametrize(("after", "effect", "again"), [(5.0, "helped", "done"), (6.0, "no help", "not repeated")])
def test_an_action_that_did_not_help_is_not_repeated(desk: Desk, after: float, effect: str, again: str) -> None:
    shifted = [(end, 6.0 + 0.01 * (end % 3)) for end in range(5, 12)]
    desk.progress(12, model_loss=[(4, 5.0), *shifted])
    assert desk.alarm("model_loss")[1] == "done"
    assert desk.policy.measure() == [], "nothing is known yet"
    desk.progress(40, model_loss=[(end, after + 0.01 * (end % 3)) for end in range(20, 28)])
    assert len(desk.policy.measure()) == 1
    measured = [entry for entry in desk.audit.read() if entry.event == "effect"]
    assert [(entry.action, entry.outcome) for entry in measured] == [("rates", effect)]
    assert measured[0].detail["before"] == pytest.approx(6.01, abs=0.01)
    assert measured[0].detail["low"] <= measured[0].detail["before"] - measured[0].detail["after"]
    desk.now += 3700
    assert desk.alarm("model_loss")[1] == again


def test_an_effect_that_cannot_be_measured_is_unknown_and_forbids_nothing(desk: Desk) -> None:
    desk.alarm("model_loss")
    desk.now += 3601
    desk.policy.measure()
    assert [record.effect for record in desk.policy.records()] == ["unknown"]
    assert desk.alarm("model_loss")[1] == "done"


def test_what_the_scheduler_raises_itself_is_told_once(desk: Desk) -> None:
    desk.own = [Alarm(id="mass_expiry:quiet:7", kind="mass_expiry", ts=7, value=0.9, threshold=0.5, detail="9 of 10")]
    assert [desk.handler.handle_all() for _ in range(3)] == [1, 0, 0]
    assert [subject for subject, _ in desk.told] == ["mass_expiry: 9 of 10; notify: noted"]
    assert [entry.event for entry in desk.audit.read()] == ["alarm", "action", "outcome"]
