"""``hsnn index``, as its users start it, on an index that a toy trainer and a leader made."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hsnn.cli.app import application
from hsnn.indexer.admin.export import read_export
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.jobs.control import ControlRequestHandler
from hsnn.indexer.jobs.history import JobHistory, JobRun, paused_jobs
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.publish_hold import current_hold
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from hsnn.streaming.redis.client import Redis
from tests.paths import ROOT


class Toys:
    """The toy trainer and its leader, and the command line on their Redis."""

    def __init__(self, redis: Redis, url: str, trainer: Any) -> None:
        self.redis, self._url, self.trainer = redis, url, trainer
        self.lease = Lease(redis, 3600, "test")
        assert self.lease.acquire()
        self.store = IndexStore(redis, self.lease)
        self.leader = Leader(self.store, Builder(self.store))
        for number in range(8):
            trainer.put(f"i{number}", number % 4)

    def publish(self) -> None:
        self.leader.publish(self.trainer.snapshot(), "test")

    def call(self, *arguments: str) -> Result:
        words = ["index", *arguments, "--set", f"redis.url={self._url}", "--set", "indexer.item_sweep=10ms"]
        return CliRunner().invoke(application(words), words, prog_name="hsnn")


@pytest.fixture
def toys(redis_client: Redis, redis_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Toys:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    file = ROOT / "tests" / "indexer" / "conftest.py"
    spec = importlib.util.spec_from_file_location("toys_of_the_indexer", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    made = Toys(redis_client, redis_server, module.ToyTrainer(redis_client))
    made.publish()
    made.publish()
    return made


@pytest.mark.slow
def test_versions_and_show(toys: Toys) -> None:
    listed = toys.call("versions").stdout.splitlines()
    assert [line.split()[:3] for line in listed] == [["1", "8", "items"], ["*", "2", "8"]]
    shown = toys.call("show").stdout
    assert "version 2" in shown
    assert "0 of 4" in shown
    assert "bytes of hsnn:{0}:items:2" in shown
    assert "bytes per item" in shown
    assert "version 1" in toys.call("show", "1").stdout
    assert isinstance(toys.call("show", "7").exception, VersionNotFoundError)


def test_before_the_first_version_that_is_said(toys: Toys) -> None:
    toys.redis.flushall()
    for command in ("show", "verify"):
        assert "there is no version yet" in str(toys.call(command).exception)


@pytest.mark.slow
def test_verify_names_the_damage_and_mends_it_when_asked(toys: Toys) -> None:
    assert (toys.call("verify").exit_code, toys.call("verify", "1").exit_code) == (0, 0)
    toys.redis.hdel(toys.store.key("items", 2), "i1")
    toys.redis.hset(toys.store.key("items", 2), "ghost", 1)
    toys.trainer.delete("i4")
    found = toys.call("verify")
    assert found.exit_code == 1
    assert "DAMAGED" in found.stdout
    assert [line.split()[:2] for line in found.stdout.splitlines()[1:]] == [
        ["missing", "1"],
        ["extra", "1"],
        ["stale", "1"],
    ]
    mended = toys.call("verify", "--repair")
    assert mended.exit_code == 0, mended.output
    assert "after the repair: version 2, 7 items in the map: clean" in mended.stdout
    assert toys.call("verify").exit_code == 0
    assert toys.store.item_nodes(2) == toys.trainer.alive()


def test_diff_and_export(toys: Toys, tmp_path: Path) -> None:
    toys.trainer.put("new", 1)
    toys.trainer.delete("i0")
    toys.trainer.shift = 1
    toys.publish()
    said = toys.call("diff", "2", "3").stdout
    assert "only in 2: 1  i0" in said
    assert "only in 3: 1  new" in said
    assert "in another node: 7 of 7 in both (100.0%)  i1 1->2" in said
    assert "most changed nodes" in said
    assert "are in index.npz, described in index.npz.json" in toys.call("export", "3", "index.npz").stdout
    assert set(read_export(tmp_path / "index.npz")[0].ids) == toys.trainer.alive().keys()
    assert "exists already" in str(toys.call("export", "3", "index.npz").exception)


@pytest.mark.slow
def test_holds_are_shown_until_they_are_released(toys: Toys) -> None:
    assert toys.call("hold").exit_code == 2, "a reason must be given"
    assert "the new model is bad" in toys.call("hold", "--reason", "the new model is bad").stdout
    for command in ("versions", "jobs"):
        assert "publishing is held since" in toys.call(command).stdout
    toys.redis.set(toys.store.key("epoch"), toys.trainer.epoch)
    assert "WARNING" not in toys.call("versions").stdout
    toys.redis.incr(toys.store.key("epoch"))
    for command in ("versions", "jobs"):
        assert "WARNING: the trainer was restarted" in toys.call(command).stdout
    assert toys.call("release").stdout == "publishing goes on\n"
    assert toys.call("release").stdout == "publishing was not held\n"
    assert "held" not in toys.call("versions").stdout


def test_rollback_with_and_without_a_hold(toys: Toys) -> None:
    assert "until the trainer's next snapshot" in toys.call("rollback", "1").stdout
    assert (toys.store.current(), current_hold(toys.store)) == (1, None)
    assert "until `hsnn index release`" in toys.call("rollback", "2", "--hold").stdout
    held = current_hold(toys.store)
    assert held is not None
    assert (toys.store.current(), held.reason) == (2, "rolled back to version 2")


def test_jobs_are_shown_with_their_history(toys: Toys) -> None:
    job_history = JobHistory(toys.store, AuditTrail(toys.redis, toys.store.key("audit")))
    job_history.record_run(
        "verify", 60.0, JobRun(started=1_700_000_000_000, seconds=0.25, outcome="failed", who="swept", detail="?!")
    )
    row = next(line for line in toys.call("jobs").stdout.splitlines() if "verify" in line)
    cells = [cell.strip() for cell in row.split("│")][1:-1]
    assert cells == ["verify", "2023-11-14 22:13:20", "failed", "0.250", "swept", "1", "late: does a scheduler lead?"]
    assert "?!" in toys.call("jobs", "history", "verify").stdout


class Deaf:
    """A job runner that does nothing."""

    def trigger(self, name: str, trigger: str = "called") -> None: ...
    def pause(self, name: str) -> None: ...
    def resume(self, name: str) -> None: ...


@contextmanager
def a_leader_listens(toys: Toys) -> Iterator[None]:
    requests, over = (
        ControlRequestHandler(toys.store, AuditTrail(toys.redis, toys.store.key("audit")), Deaf()),
        threading.Event(),
    )

    def listen() -> None:
        while not over.wait(0.01):
            requests.handle_all()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_requests_wait_for_a_leader_and_say_so(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsnn.cli.jobs._LEADER_SECONDS", 0.05)
    alone = toys.call("jobs", "pause", "clean")
    assert alone.exit_code == 1
    assert "no scheduler leads" in alone.stdout
    monkeypatch.setattr("hsnn.cli.jobs._LEADER_SECONDS", 5.0)
    with a_leader_listens(toys):
        for op in ("run", "pause"):
            assert toys.call("jobs", op, "refresh").stdout == f"{op} refresh: the leader has taken it\n"
        assert paused_jobs(toys.store) == {"clean", "refresh"}
        row = next(line for line in toys.call("jobs").stdout.splitlines() if "refresh" in line)
        assert "paused" in row
        assert toys.call("jobs", "resume", "refresh").exit_code == 0
    assert paused_jobs(toys.store) == {"clean"}
    assert "there is no job 'refesh'" in str(toys.call("jobs", "run", "refesh").exception)
