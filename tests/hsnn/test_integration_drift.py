"""Drift from end to end: planted in the log, noticed by the trainer, answered by the scheduler, written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hsnn.config.schema import Config
from hsnn.demo.collector import decode_hash
from hsnn.demo.processes import RoleProcesses
from hsnn.demo.sandbox import ready
from hsnn.demo.settings import free_ports, write
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.audit import AuditEntry, AuditTrail
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.streaming.schema.events import Interaction, encode
from tests.waiting import DEADLINE, START_DEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

BATCH = 64
EVENTS = 160 * BATCH
SHIFT = 100 * BATCH
USERS, ITEMS = 64, 128
START = 1_700_000_000_000


def events(drift: bool) -> Iterator[Interaction]:
    """Users who walk through the items of their taste one by one; with `drift` all turn to others at random."""
    rng = np.random.default_rng(3)
    place = rng.integers(0, ITEMS, USERS)
    for number in range(EVENTS):
        user = int(rng.integers(USERS))
        place[user] = (place[user] + 4) % ITEMS
        item = f"new{rng.integers(4 * ITEMS)}" if drift and number >= SHIFT else f"old{place[user]}"
        yield Interaction(id=number, ts=START + 1000 * number, user=f"u{user}", item=item, action="click")


def config(folder: Path, url: str) -> Config:
    ports = free_ports(2)
    return Config.model_validate(
        {
            "redis": {"url": url},
            "streaming": {"log": url, "batch_size": BATCH, "partitions": 2},
            "trainer": {
                "checkpoint_dir": folder / "checkpoints",
                "snapshot_interval": "1h",
                "index": {"seed_after": 1024},
                "model": {"nodes": 16, "beam": 4, "buckets": 256},
            },
            "monitoring": {
                "trainer_port": ports[0],
                "scheduler_port": ports[1],
                "mix_drift": {"window": 1024, "warm_up": 3},
            },
        }
    )


@pytest.fixture
def roles(tmp_path: Path, redis_client: Redis, redis_server: str) -> Iterator[RoleProcesses]:
    """A running trainer and scheduler on an empty Redis; the interval between snapshots is longer than the test."""
    chosen = config(tmp_path, redis_server)
    write(chosen, tmp_path / "hsnn.toml")
    running = RoleProcesses(tmp_path, {"OMP_NUM_THREADS": "1"})
    try:
        for name, command in (("scheduler", "schedule"), ("trainer", "train")):
            running.start(name, [command, "--config", str(tmp_path / "hsnn.toml")])
        for port in (chosen.monitoring.scheduler_port, chosen.monitoring.trainer_port):
            running.wait_until(lambda port=port: ready(f"http://127.0.0.1:{port}"), "the roles", START_DEADLINE)  # type: ignore[misc]
        yield running
    finally:
        running.end()


def send(url: str, drift: bool) -> None:
    log = open_log(url)
    for topic in ("engagements", "items", "users"):
        log.create_topic(topic, 2)
    now = time.time_ns() // 1_000_000
    log.append("engagements", [ProducerRecord(str(e.user).encode(), encode(e), (), now) for e in events(drift)])
    log.flush()
    log.close()


def learned(redis: Redis) -> int:
    return int(decode_hash(redis.hgetall(key("progress"))).get("trained", 0))  # type: ignore[arg-type]


def audit(redis: Redis) -> list[AuditEntry]:
    return [entry for entry in AuditTrail(redis, key("audit")).read() if entry.event in ("alarm", "action", "outcome")]


def test_planted_drift_leads_to_alarm_refresh_version_and_audit(
    roles: RoleProcesses, redis_client: Redis, redis_server: str
) -> None:
    reader = IndexReader(redis_client)
    send(redis_server, drift=True)
    roles.wait_until(lambda: learned(redis_client) == EVENTS, "all events to be learned", 2 * DEADLINE)

    def answered(redis: Redis) -> bool:
        found = audit(redis)
        alarms = {entry.alarm for entry in found if entry.event == "alarm"}
        return bool(alarms) and alarms <= {entry.alarm for entry in found if entry.event == "outcome"}

    roles.wait_until(lambda: answered(redis_client), "an alarm and its outcome", DEADLINE)
    found = audit(redis_client)
    alarm = next(entry for entry in found if entry.event == "alarm" and entry.kind == "loss_drift")
    assert alarm.detail["value"] > alarm.detail["threshold"]
    assert alarm.detail["ts"] >= START + 1000 * SHIFT, "not before the shift"
    assert alarm.detail["ts"] <= START + 1000 * (SHIFT + 30 * BATCH), "and soon after it"
    about = [entry for entry in found if entry.alarm == alarm.alarm]
    assert [entry.event for entry in about] == ["alarm", "action", "outcome"]
    assert [entry.action for entry in about[1:]] == ["refresh", "refresh"]
    outcome = about[-1]
    assert outcome.outcome == "done"
    assert outcome.version is not None
    assert outcome.version >= 2
    manifest = reader.manifest(outcome.version)
    assert manifest.events > SHIFT, "the version was made of a snapshot taken because of the alarm"
    assert reader.current() is not None
    assert reader.current() >= outcome.version  # type: ignore[operator]
    new = [item for item in reader.item_nodes(reader.current() or 0) if item.startswith("new")]
    assert len(new) > ITEMS


def test_its_quiet_twin_raises_none(roles: RoleProcesses, redis_client: Redis, redis_server: str) -> None:
    send(redis_server, drift=False)
    roles.wait_until(lambda: learned(redis_client) == EVENTS, "all events to be learned", 2 * DEADLINE)
    lag: Callable[[], int] = lambda: decode_hash(redis_client.hgetall(key("progress")))["lag_records"]  # type: ignore[arg-type]  # noqa: E731
    roles.wait_until(lambda: lag() == 0, "the log to be drained", DEADLINE)
    assert redis_client.xlen(key("alarms")) == 0
    assert audit(redis_client) == []
    assert IndexReader(redis_client).current() == 1, "the first version, and no reason for another"
