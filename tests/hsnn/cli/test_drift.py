"""``hsnn drift``, as its users start it."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hsnn.cli.app import application
from hsnn.indexer.jobs.action_policy import snoozed_until
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.watching.monitor import declared_groups
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.streaming.schema.commands import Command, Expire, decode_commands
from hsnn.trainer.features.mass_expiry import ALARM

Call = Callable[..., Result]


@pytest.fixture
def call(redis_client: Redis, redis_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """``hsnn drift`` beside a trail with one alarm."""
    monkeypatch.chdir(tmp_path)
    now = time.time_ns() // 1_000_000
    AuditTrail(redis_client, key("audit")).record(
        "alarm", kind="model_loss", alarm="model_loss:7", ts=now, value=6.0, text="loss: 5 before, 6 since", since=now
    )

    def run(*arguments: str) -> Result:
        words = ["drift", *arguments, "--set", f"redis.url={redis_server}", "--set", f"streaming.log={redis_server}"]
        return CliRunner().invoke(application(words), words, prog_name="hsnn")

    return run


def test_report_on_the_terminal_and_as_a_page(call: Call, tmp_path: Path) -> None:
    shown = call("report", "--since", "6h")
    assert shown.exit_code == 0, shown.output
    assert "model_loss (model_loss:7): loss: 5 before, 6 since" in shown.output
    assert call("report", "--html", "drift.html").output == "1 incidents are in drift.html\n"
    assert "<li>model_loss (model_loss:7)" in (tmp_path / "drift.html").read_text("utf-8")
    assert call("report", "--since", "yesterday").exit_code == 2


def test_a_verdict_is_part_of_the_story(call: Call) -> None:
    assert call("confirm", "model_loss:7").output == "confirm: model_loss:7\n"
    assert "confirmed by" in call("report").output
    assert call("dismiss", "model_loss:8").exit_code == 2


def test_snooze_and_its_end(call: Call, redis_client: Redis) -> None:
    reader = IndexReader(redis_client)
    assert "no action for 6h" in call("snooze", "model_loss", "--for", "6h").output
    assert snoozed_until(reader, "model_loss") > time.time() + 21_000
    assert "actions again" in call("snooze", "model_loss", "--for", "0").output
    assert snoozed_until(reader, "model_loss") == 0.0


def test_the_recommended_rules_are_a_configuration() -> None:
    shown = CliRunner().invoke(application(["drift", "rules"]), ["drift", "rules"], prog_name="hsnn")
    rules = MonitoringConfig(**tomllib.loads(shown.output)["monitoring"]).rules
    assert set(rules) == {signal.name for group in declared_groups().values() for signal in group.signals}
    assert set(rules.values()) <= {"rates", "refresh", "rebalance", "notify"}, "nothing that stops publishing"


def test_to_confirm_a_mass_expiry_lets_the_items_leave(call: Call, redis_client: Redis, redis_server: str) -> None:
    audit, now = AuditTrail(redis_client, key("audit")), time.time_ns() // 1_000_000
    audit.record("alarm", kind=ALARM, alarm="mass_expiry:9", ts=9, value=0.9, text="900 of 1000 items would expire")
    redis_client.hset(key("progress"), mapping={"watermark": 5_000, "arrived_at": now - 60_000})
    assert call("dismiss", "mass_expiry:9").exit_code == 0
    assert commands(redis_server) == [], "a dismissed alarm lets nobody go"
    shown = call("confirm", "mass_expiry:9")
    assert shown.exit_code == 0, shown.output
    (sent,) = commands(redis_server)
    assert isinstance(sent, Expire)
    assert sent.ts == 5_000
    assert 65_000 <= sent.until < 95_000, "as far as a quiet stream has gone on"
    entry = audit.read()[-1]
    assert (entry.event, entry.kind, entry.detail["until"]) == ("confirm", ALARM, sent.until)


def commands(server: str) -> list[Command]:
    """What the first partition of the control topic holds."""
    log = open_log(server)
    places = [("control", partition) for partition in log.partitions("control")[:1]]
    log.seek(dict.fromkeys(places, 0))
    values = [value for records in (log.poll(100, 0.5) if places else []) for value in records.values if value]
    log.close()
    return list(decode_commands(values))
