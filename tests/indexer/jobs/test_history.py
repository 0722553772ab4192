import pytest

from hsnn.indexer.errors import FencedError
from hsnn.indexer.jobs.history import RUNS_KEPT, JobHistory, JobRun, job_names, list_jobs, run_history
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail


@pytest.fixture
def audit(store) -> AuditTrail:
    return AuditTrail(store.redis, store.key("audit"))


@pytest.fixture
def job_history(store, audit) -> JobHistory:
    return JobHistory(store, audit)


def run(started: int, outcome: str = "done") -> JobRun:
    return JobRun(started=started, seconds=0.5, outcome=outcome, who="swept", detail="" if outcome == "done" else "why")


def job(store, name):
    return next(job for job in list_jobs(store) if job.name == name)


def test_every_job_is_there_before_it_ever_ran(store) -> None:
    assert tuple(job.name for job in list_jobs(store)) == job_names()
    assert (job(store, "clean").runs, job(store, "clean").state.last, job(store, "clean").next_at) == (0, None, None)


def test_state_count_and_history_go_together_and_the_history_is_bounded(store, job_history) -> None:
    for number in range(RUNS_KEPT + 5):
        job_history.record_run("settle", 2.0, run(1000 * number))
    job_history.record_run("settle", 2.0, run(7, "failed"))
    found = job(store, "settle")
    assert (found.runs, found.state.last, found.next_at) == (RUNS_KEPT + 6, run(7, "failed"), 2007)
    kept = run_history(store, "settle")
    assert len(kept) == RUNS_KEPT
    assert kept[:2] == [run(7, "failed"), run(1000 * (RUNS_KEPT + 4))]
    assert run_history(store, "settle", 1) == kept[:1]
    assert run_history(store, "clean") == []


def test_an_overrun_is_shown_until_the_run_ends_and_is_in_the_audit_trail(store, job_history, audit) -> None:
    job_history.record_run("refresh", 5.0, run(1))
    job_history.raise_overrun_alarm("refresh", 5.0, 5000, limit=2.0)
    assert (job(store, "refresh").state.overrun_since, job(store, "refresh").state.last) == (5000, run(1))
    assert job(store, "refresh").runs == 1, "a run counts when it ends"
    job_history.record_run("refresh", 5.0, run(5000, "overrun"))
    job_history.record_overrun_outcome("refresh", run(5000, "overrun"))
    assert job(store, "refresh").state.overrun_since is None
    alarm, outcome = audit.read()
    assert (alarm.event, alarm.kind, alarm.detail["job"], alarm.detail["limit"]) == (
        "alarm",
        "job_overrun",
        "refresh",
        2.0,
    )
    assert (outcome.event, outcome.outcome, outcome.alarm) == ("outcome", "overrun", alarm.alarm)


def test_a_paused_leader_writes_no_history(redis_client, audit) -> None:
    old = Lease(redis_client, 3600, "paused")
    assert old.acquire(force=True)
    job_history = JobHistory(IndexStore(redis_client, old), audit)
    job_history.record_run("settle", 1.0, run(1))
    successor = Lease(redis_client, 3600, "successor")
    assert successor.acquire(force=True)
    before = redis_client.hgetall("hsnn:{0}:jobs"), redis_client.lrange("hsnn:{0}:jobs:history:settle", 0, -1)
    with pytest.raises(FencedError):
        job_history.record_run("settle", 1.0, run(2))
    with pytest.raises(FencedError):
        job_history.raise_overrun_alarm("settle", 1.0, 2, 1.0)
    after = redis_client.hgetall("hsnn:{0}:jobs"), redis_client.lrange("hsnn:{0}:jobs:history:settle", 0, -1)
    assert before == after
    assert audit.read() == [], "not even the alarm"
    JobHistory(IndexStore(redis_client, successor), audit).record_run("settle", 1.0, run(3))
    assert [one.started for one in run_history(IndexStore(redis_client), "settle")] == [3, 1]
