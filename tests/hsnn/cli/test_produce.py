from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hsnn.cli.produce import produce
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import Redis
from tests.waiting import DEADLINE, START_DEADLINE

app = typer.Typer()
app.command()(produce)


@pytest.fixture
def data(tmp_path: Path) -> str:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "ratings.dat").write_text("".join(f"{row % 7}::{row % 3}::5::{row * 10}\n" for row in range(1, 101)))
    (folder / "movies.dat").write_text("0::A (1960)::Action\n1::B (2013)::Drama\n")
    return f"movietweetings:{folder}"


def in_log(url: str) -> int:
    log = open_log(url)
    ends = log.end_positions([("engagements", partition) for partition in log.partitions("engagements")])
    log.close()
    return sum(ends.values())


def test_it_sends_and_writes_the_counts(data: str, redis_client: Redis, redis_server: str, tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    shown = CliRunner().invoke(app, ["--data", data, "--log", redis_server, "--limit", "60", "--json", str(counts)])
    assert shown.exit_code == 0
    assert "sent 60 engagements, 3 items" in shown.output
    written = json.loads(counts.read_text())
    assert (written["engagements"], written["items"], written["finished"]) == (60, 3, True)
    assert in_log(redis_server) == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.json", "films"]


def test_errors_are_said_not_thrown(data: str, redis_server: str) -> None:
    for arguments, text in (
        (["--data", "movietweetings:/nowhere", "--log", redis_server], "is not a folder"),
        (["--data", data, "--log", "ftp://x"], "is no log"),
        (["--data", data, "--log", redis_server, "--speed", "quick"], "not a replay speed"),
    ):
        shown = CliRunner().invoke(app, arguments)
        assert shown.exit_code == 1
        assert text in shown.output


def test_follow_needs_ahead(data: str, redis_server: str) -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--data", data, "--log", redis_server, "--ahead", "5"])
    assert shown.exit_code == 2
    assert "belong together" in shown.output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_after_what_was_sent_is_safe(
    number: signal.Signals, data: str, redis_client: Redis, redis_server: str, tmp_path: Path
) -> None:
    counts = tmp_path / "counts.json"
    arguments = ["--data", data, "--log", redis_server, "--speed", "20x", "--json", str(counts)]
    code = "import typer; from hsnn.cli.produce import produce; typer.run(produce)"
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"}) as process:
        deadline = time.monotonic() + START_DEADLINE
        while not counts.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert "stopped after" in output
    written = json.loads(counts.read_text())
    assert not written["finished"]
    assert 0 < written["engagements"] < 100
    assert in_log(redis_server) == written["engagements"]
