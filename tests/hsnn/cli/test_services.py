"""`hsnn train`, `schedule`, `serve`: each process gets its part of the configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest.mock import call, create_autospec

import pytest
from typer.testing import CliRunner, Result

from hsnn.cli.app import application
from hsnn.cli.options import settings
from hsnn.cli.services import _check_layout
from hsnn.config.loader import ConfigError
from hsnn.config.schema import Config
from hsnn.serving.api.server import ServerSettings
from hsnn.streaming.redis.keys import DEFAULT_PREFIX, key


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


@pytest.mark.parametrize(
    ("command", "runner", "expected"),
    [
        (
            "train",
            "hsnn.trainer.online.loop.run",
            lambda c: call(
                c.trainer, c.streaming, c.monitoring, redis_url=c.redis.url, digest=c.digest(), take_over=False
            ),
        ),
        (
            "schedule",
            "hsnn.indexer.jobs.scheduler.run",
            lambda c: call(c.indexer, c.monitoring, c.redis.url, streaming=c.streaming),
        ),
        (
            "serve",
            "hsnn.serving.api.server.run",
            lambda c: call(
                ServerSettings(
                    c.serving,
                    c.redis.url,
                    stalled_after=c.monitoring.stalled_after,
                    streaming=c.streaming,
                    indexer=c.indexer,
                )
            ),
        ),
    ],
)
def test_each_role_gets_its_part_of_the_configuration(
    command: str, runner: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autospec: the call must also fit the role's own signature."""
    module, _, name = runner.rpartition(".")
    imported = __import__(module, fromlist=[name])
    fake = create_autospec(getattr(imported, name))
    monkeypatch.setattr(imported, name, fake)
    monkeypatch.setattr("hsnn.cli.services._check_layout", create_autospec(_check_layout))  # nothing answers there
    done = invoke(command, "--set", "redis.url=redis://elsewhere:1/2")
    assert done.exit_code == 0, done.output
    chosen = Config(redis={"url": "redis://elsewhere:1/2"})
    assert fake.call_args == expected(chosen)


def test_the_keys_in_redis_have_the_prefix_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsnn.streaming.redis.keys._prefix", DEFAULT_PREFIX)  # restored at the end
    settings(None, ["redis.prefix=shop-b"])
    assert key("current") == "shop-b:{0}:current"
    for prefix in ("", "a:b", "a{b}", "x" * 65):
        with pytest.raises(ConfigError, match=r"redis\.prefix"):
            settings(None, [f"redis.prefix={prefix}"])
