"""Alarms keep their identity on the wire; rules answer every kind."""

import json

import msgspec
import pytest

from hsnn.monitoring.alarms import Alarm, AlarmRules
from hsnn.monitoring.config import MonitoringConfig

ALARM = Alarm(id="loss_drift:7", kind="loss_drift", ts=7, value=6.5, threshold=5.5, detail="worse")


def test_alarm_on_the_wire_is_json() -> None:
    assert json.loads(ALARM.encode()) == {
        "id": "loss_drift:7",
        "kind": "loss_drift",
        "ts": 7,
        "value": 6.5,
        "threshold": 5.5,
        "detail": "worse",
    }
    assert Alarm.decode(ALARM.encode()) == ALARM


def test_bytes_that_are_no_alarm_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        Alarm.decode(b'{"id": "a"}')


def test_default_rules_answer_both_detectors_and_tell_of_a_mass_expiry() -> None:
    rules = AlarmRules(MonitoringConfig().rules)
    kinds = ("loss_drift", "mix_drift", "mass_expiry", "other")
    assert [rules.action_for(kind) for kind in kinds] == ["refresh", "refresh", "notify", "none"]
