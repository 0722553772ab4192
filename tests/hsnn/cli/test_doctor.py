"""`hsnn doctor`: its checks, and its exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hsnn.cli.app import application
from hsnn.cli.doctor import check_crc32c, check_torch, run_checks
from hsnn.config.schema import Config
from hsnn.streaming.redis.client import Redis


@pytest.fixture(autouse=True)
def _without_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("HSNN_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    # rich would wrap what it prints at the width of a terminal that is not there
    monkeypatch.setenv("COLUMNS", "200")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(application(arguments), list(arguments), prog_name="hsnn")


def test_doctor_finds_what_is_there_and_what_is_not(redis_server: str, tmp_path: Path) -> None:
    good = Config(redis={"url": redis_server}, streaming={"log": redis_server})
    states = {finding.name: finding.state for finding in run_checks(good)}
    assert {states[name] for name in ("python", "torch", "crc32c", "redis", "log", "disk")} == {"ok"}
    away = "redis://:pa55@127.0.0.1:1/0"
    bad = Config(redis={"url": away}, streaming={"log": away}, trainer={"threads": 4096})
    found = {finding.name: finding for finding in run_checks(bad)}
    assert (found["redis"].state, found["log"].state, found["threads"].state) == ("fail", "fail", "warn")
    assert not any("pa55" in finding.text for finding in found.values())


def test_doctor_complains_loudly_without_crc32c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crc32c", None)
    found = check_crc32c(Config())
    assert found.state == "fail"
    assert "3 to 20 times slower" in found.text


def test_doctor_accepts_a_server_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = check_torch(Config())
    assert found.state == "warn"
    assert "hsnn[train]" in found.text


@pytest.fixture
def keeping(redis_client: Redis) -> Iterator[None]:
    """Redis writes snapshots to disk."""
    redis_client.config_set("save", "3600 1")
    yield
    redis_client.config_set("save", "")


@pytest.mark.usefixtures("keeping")
def test_doctor_command_fails_if_a_check_does(redis_server: str) -> None:
    fine = ("--set", f"redis.url={redis_server}", "--set", f"streaming.log={redis_server}")
    assert invoke("doctor", *fine).exit_code == 0
    bad = invoke("doctor", "--set", "redis.url=redis://127.0.0.1:1/0", "--set", f"streaming.log={redis_server}")
    assert bad.exit_code == 1
    assert "fail" in bad.stdout
