"""People ask through Redis, the leader alone carries out."""

import threading
import time
from functools import partial

import pytest

from hsnn.indexer.errors import FencedError, RequestError
from hsnn.indexer.jobs.control import Requests, ask, await_leader
from hsnn.indexer.jobs.history import Journal, history, jobs_of, paused_jobs
from hsnn.indexer.jobs.runner import Workshop
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from tests import waiting

eventually = partial(waiting.eventually, seconds=5.0)


class Calls:
    """A workshop that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def wake(self, name: str, who: str = "called") -> None:
        self.told.append(("wake", name, who))

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
def requests(store, audit, calls) -> Requests:
    return Requests(store, audit, calls)


@pytest.fixture
def workshop(store, audit):
    made = Workshop(lambda: None, Journal(store, audit))
    yield made
    made.stop()


def test_requests_are_carried_out_in_order_once_and_put_on_record(store, requests, audit, calls) -> None:
    for op, job in (("pause", "refresh"), ("run", "verify"), ("resume", "refresh"), ("pause", "clean")):
        last = ask(store, op, job)
    assert not await_leader(store, last, 0.0)
    assert requests.carry_out() == 4
    assert await_leader(store, last, 0.0)
    assert calls.told == [
        ("pause", "refresh"),
        ("wake", "verify", "by hand"),
        ("resume", "refresh"),
        ("pause", "clean"),
    ]
    assert requests.carry_out() == 0
    assert paused_jobs(store) == {"clean"}
    assert [job.name for job in jobs_of(store) if job.paused] == ["clean"]
    assert [(entry.event, entry.action, entry.detail["job"]) for entry in audit.read()][:2] == [
        ("job", "pause", "refresh"),
        ("job", "run", "verify"),
    ]


def test_a_job_that_does_not_exist_is_named(store) -> None:
    for job in ("refesh", "requests"):
        with pytest.raises(RequestError, match=f"no job '{job}' to pause; the jobs are alarms, clean, "):
            ask(store, "pause", job)


def test_what_is_no_request_is_passed_over(store, requests, calls) -> None:
    stream = store.key("jobs", "requests")
    store.redis.xadd(stream, {"d": b"{"})
    store.redis.xadd(stream, {"d": b'{"op":"pause","job":"requests","by":"x","at":1}'})
    store.redis.xadd(stream, {"d": b'{"op":"stop","job":"refresh","by":"x","at":1}'})
    ask(store, "run", "clean")
    assert requests.carry_out() == 1
    assert calls.told == [("wake", "clean", "by hand")]
    assert paused_jobs(store) == set()


def test_a_paused_leader_carries_out_nothing_and_its_successor_does(redis_client, audit, calls) -> None:
    old, successor = Lease(redis_client, 30, "old"), Lease(redis_client, 30, "successor")
    assert old.take(by_force=True)
    late = Requests(IndexStore(redis_client, old), audit, calls)
    assert successor.take(by_force=True)
    store = IndexStore(redis_client, successor)
    request = ask(store, "pause", "refresh")
    with pytest.raises(FencedError):
        late.carry_out()
    assert (calls.told, paused_jobs(store), audit.read()) == ([], set(), [])
    assert not await_leader(store, request, 0.0)
    assert Requests(store, audit, calls).carry_out() == 1
    assert (calls.told, paused_jobs(store)) == ([("pause", "refresh")], {"refresh"})


def test_a_paused_job_does_not_run_and_its_due_run_is_not_lost(store, audit, workshop) -> None:
    runs = []
    workshop.add("clean", lambda: runs.append(1), every=3600)
    workshop.start()
    requests = Requests(store, audit, workshop)
    assert eventually(lambda: len(runs) == 1)
    ask(store, "pause", "clean")
    requests.carry_out()
    workshop.wake("clean")
    time.sleep(0.1)
    assert len(runs) == 1
    assert store.redis.llen(store.key("jobs", "history", "clean")) == 1, "what did not run is not noted"
    ask(store, "resume", "clean")
    requests.carry_out()
    assert eventually(lambda: len(runs) == 2)
    assert eventually(lambda: [run.who for run in history(store, "clean")] == ["called", "swept"])


def test_a_request_to_run_during_a_run_leads_to_another_run(store, audit, workshop) -> None:
    started, go, runs = threading.Event(), threading.Event(), []

    def job() -> None:
        started.set()
        assert go.wait(5)
        runs.append(1)

    workshop.add("verify", job, every=3600)
    workshop.start()
    assert started.wait(5)
    ask(store, "run", "verify")
    Requests(store, audit, workshop).carry_out()
    assert runs == []
    go.set()
    assert eventually(lambda: len(history(store, "verify")) == 2)
    assert [run.who for run in history(store, "verify")] == ["by hand", "swept"]
    assert len(runs) == 2
