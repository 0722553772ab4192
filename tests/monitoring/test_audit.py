"""The audit trail keeps order and content, and does not grow for ever."""

import time

import redis

from hsnn.monitoring.audit import AuditTrail


def test_entries_come_back_in_order_with_everything_said(redis_client: redis.Redis) -> None:
    trail = AuditTrail(redis_client, "hsnn:{0}:audit")
    before = time.time_ns() // 1_000_000
    trail.record("alarm", kind="loss_drift", alarm="loss_drift:7", value=6.5)
    trail.record("action", alarm="loss_drift:7", action="refresh")
    written = trail.record("outcome", alarm="loss_drift:7", action="refresh", outcome="done", version=4)
    first, second, third = trail.read(10)
    assert (first.event, first.kind, first.detail) == ("alarm", "loss_drift", {"value": 6.5})
    assert (second.action, second.version) == ("refresh", None)
    assert third == written
    assert before <= first.at <= second.at <= third.at
    assert trail.read(1) == [written]


def test_an_unwritten_trail_is_empty(redis_client: redis.Redis) -> None:
    assert AuditTrail(redis_client, "hsnn:{0}:audit").read(5) == []


def test_the_trail_is_trimmed(redis_client: redis.Redis) -> None:
    trail = AuditTrail(redis_client, "hsnn:{0}:audit", length=10)
    for number in range(500):
        trail.record("alarm", kind="mix_drift", number=number)
    assert redis_client.xlen("hsnn:{0}:audit") < 500
    assert trail.read(1)[0].detail == {"number": 499}
