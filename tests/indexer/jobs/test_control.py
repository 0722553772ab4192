"""People ask through Redis, the leader alone carries out."""

import threading
import time

import pytest

from hsnn.indexer.errors import FencedError, UnknownJobError
from hsnn.indexer.jobs.control import ControlRequestHandler, await_leader, send_request
from hsnn.indexer.jobs.history import JobHistory, list_jobs, paused_jobs, run_history
from hsnn.indexer.jobs.runner import JobRunner
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from tests.waiting import DEADLINE, eventually


class Calls:
    """A runner that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def trigger(self, name: str, trigger: str = "called") -> None:
        self.told.append(("trigger", name, trigger))

    def pause(self, name: str) -> None:
        self.told.append(("pause", name))

    def resume(self, name: str) -> None:
        self.told.append(("resume", name))


@pytest.fixture
def audit(store) -> AuditTrail:
    return AuditTrail(store.redis, store.key("audit"))


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def requests(store, audit, calls) -> ControlRequestHandler:
    return ControlRequestHandler(store, audit, calls)


@pytest.fixture
def runner(store, audit):
    made = JobRunner(lambda: None, JobHistory(store, audit))
    yield made
    made.stop()


def test_requests_are_carried_out_in_order_once_and_put_on_record(store, requests, audit, calls) -> None:
    for op, job in (("pause", "refresh"), ("run", "verify"), ("resume", "refresh"), ("pause", "clean")):
        last = send_request(store, op, job)
    assert not await_leader(store, last, 0.0)
    assert requests.handle_all() == 4
    assert await_leader(store, last, 0.0)
    assert calls.told == [
        ("pause", "refresh"),
        ("trigger", "verify", "by hand"),
        ("resume", "refresh"),
        ("pause", "clean"),
    ]
    assert requests.handle_all() == 0
    assert paused_jobs(store) == {"clean"}
    assert [job.name for job in list_jobs(store) if job.paused] == ["clean"]
    assert [(entry.event, entry.action, entry.detail["job"]) for entry in audit.read()][:2] == [
        ("job", "pause", "refresh"),
        ("job", "run", "verify"),
    ]


def test_a_job_that_does_not_exist_is_named(store) -> None:
    for job in ("refesh", "requests"):
        with pytest.raises(UnknownJobError, match=f"no job '{job}' to pause; the jobs are alarms, clean, "):
            send_request(store, "pause", job)


def test_what_is_no_request_is_passed_over(store, requests, calls) -> None:
    stream = store.key("jobs", "requests")
    store.redis.xadd(stream, {"d": b"{"})
    store.redis.xadd(stream, {"d": b'{"op":"pause","job":"requests","by":"x","at":1}'})
    store.redis.xadd(stream, {"d": b'{"op":"stop","job":"refresh","by":"x","at":1}'})
    send_request(store, "run", "clean")
    assert requests.handle_all() == 1
    assert calls.told == [("trigger", "clean", "by hand")]
    assert paused_jobs(store) == set()


def test_a_paused_leader_carries_out_nothing_and_its_successor_does(redis_client, audit, calls) -> None:
    old, successor = Lease(redis_client, 3600, "old"), Lease(redis_client, 3600, "successor")
    assert old.acquire(force=True)
    late = ControlRequestHandler(IndexStore(redis_client, old), audit, calls)
    assert successor.acquire(force=True)
    store = IndexStore(redis_client, successor)
    request = send_request(store, "pause", "refresh")
    with pytest.raises(FencedError):
        late.handle_all()
    assert (calls.told, paused_jobs(store), audit.read()) == ([], set(), [])
    assert not await_leader(store, request, 0.0)
    assert ControlRequestHandler(store, audit, calls).handle_all() == 1
    assert (calls.told, paused_jobs(store)) == ([("pause", "refresh")], {"refresh"})


def test_a_paused_job_does_not_run_and_its_due_run_is_not_lost(store, audit, runner) -> None:
    runs = []
    runner.add_job("clean", lambda: runs.append(1), every=3600)
    runner.start()
    requests = ControlRequestHandler(store, audit, runner)
    assert eventually(lambda: len(runs) == 1)
    send_request(store, "pause", "clean")
    requests.handle_all()
    runner.trigger("clean")
    time.sleep(0.1)
    assert len(runs) == 1
    assert store.redis.llen(store.key("jobs", "history", "clean")) == 1, "what did not run is not noted"
    send_request(store, "resume", "clean")
    requests.handle_all()
    assert eventually(lambda: [run.who for run in run_history(store, "clean")][-2:] == ["called", "swept"])
    assert len(runs) >= 2


def test_a_request_to_run_during_a_run_leads_to_another_run(store, audit, runner) -> None:
    started, go, runs = threading.Event(), threading.Event(), []

    def job() -> None:
        started.set()
        assert go.wait(DEADLINE)
        runs.append(1)

    runner.add_job("verify", job, every=3600)
    runner.start()
    assert started.wait(DEADLINE)
    send_request(store, "run", "verify")
    ControlRequestHandler(store, audit, runner).handle_all()
    assert runs == []
    go.set()
    assert eventually(lambda: [run.who for run in run_history(store, "verify")][-2:] == ["by hand", "swept"])
    assert len(runs) >= 2
