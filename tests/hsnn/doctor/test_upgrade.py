from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hsnn.cli.app import application, main
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import LAYOUT, key


@pytest.fixture
def options(redis_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return ("--set", f"redis.url={redis_server}", "--set", f"trainer.checkpoint_dir={tmp_path / 'none'}")


def upgrade(*arguments: str) -> str:
    done = CliRunner().invoke(application(["upgrade"]), ["upgrade", *arguments], prog_name="hsnn")
    assert done.exit_code == 0, done.output
    return done.output


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(redis_client: Redis, options, tmp_path):
    assert "nothing there" in upgrade(*options)
    (tmp_path / "hsnn.toml").write_text("format = 1\n", "utf-8")
    assert "hsnn.toml has format 1, that of this release" in upgrade("--dry-run", *options)
    redis_client.set(key("epoch"), 1)
    redis_client.set(key("shards"), 2)
    redis_client.set("hsnn:{1}:part:1", "x")
    assert "1 keys would get other names" in upgrade("--dry-run", *options)
    assert redis_client.get("hsnn:{1}:part:1") == b"x"
    assert not (tmp_path / "none").exists()
    assert "1 keys have other names" in upgrade(*options)
    assert redis_client.get(key("part", 1, shard=1)) == b"x"
    assert f"layout {LAYOUT}, that of this release" in upgrade(*options)


@pytest.mark.parametrize("role", ["train", "schedule", "serve"])
def test_no_role_starts_on_what_has_to_be_converted(redis_client: Redis, options, role, monkeypatch, capsys):
    redis_client.set(key("epoch"), 1)
    redis_client.set(key("shards"), 2)
    redis_client.set("hsnn:{1}:part:1", "x")
    monkeypatch.setattr(sys, "argv", ["hsnn", role, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "run `hsnn upgrade` once" in capsys.readouterr().err
