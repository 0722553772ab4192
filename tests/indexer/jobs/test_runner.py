import threading
import time
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from prometheus_client import REGISTRY

from hsnn.indexer.errors import FencedError
from hsnn.indexer.job_context import JobProgress, check_deadline, report_progress
from hsnn.indexer.jobs.history import JobHistory, list_jobs, run_history
from hsnn.indexer.jobs.runner import JobRunner
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.process.log_format import current_ids
from tests.waiting import DEADLINE, eventually


def runs(job: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("hsnn_job_runs_total", {"job": job, "outcome": outcome}) or 0.0


@pytest.fixture
def lost() -> threading.Event:
    return threading.Event()


@pytest.fixture
def runner(lost):
    made = JobRunner(lost.set)
    yield made
    made.stop()


def test_a_job_runs_at_the_start_at_calls_and_by_the_sweep(runner) -> None:
    called, swept = [], []
    runner.add_job("called", lambda: called.append(1), every=3600)
    runner.add_job("swept", lambda: swept.append(1), every=0.05)
    runner.start()
    assert eventually(lambda: len(called) == 1)
    runner.trigger("called")
    assert eventually(lambda: len(called) >= 2), "not after an interval of an hour"
    assert eventually(lambda: len(swept) >= 4)


def test_a_job_that_takes_long_rests_for_longer_than_its_interval(runner) -> None:
    ends, others = [], []

    def slow() -> None:
        time.sleep(0.05)
        ends.append(time.monotonic())

    runner.add_job("slow", slow, every=0.02, rest=10.0)
    runner.add_job("other", lambda: others.append(1), every=0.02, rest=0.0)
    runner.start()
    assert eventually(lambda: len(ends) >= 2)
    assert ends[1] - ends[0] > 0.5
    assert len(others) > len(ends)


def test_who_calls_a_job_that_rests_does_not_wait(runner) -> None:
    ends = []

    def slow() -> None:
        time.sleep(0.05)
        ends.append(1)

    runner.add_job("slow", slow, every=0.02, rest=3 * DEADLINE / 0.05)
    runner.start()
    assert eventually(lambda: runner._jobs["slow"].resting)
    runner.trigger("slow")
    assert eventually(lambda: len(ends) >= 2)


def test_a_call_while_a_job_is_about_to_rest_is_not_put_off(runner) -> None:
    runs_of = []

    def slow() -> None:
        runs_of.append(1)
        time.sleep(0.05)
        if len(runs_of) == 1:
            runner.trigger("slow")

    runner.add_job("slow", slow, every=0.01, rest=3 * DEADLINE / 0.05)
    runner.start()
    assert eventually(lambda: len(runs_of) >= 2)


@pytest.fixture
def set_clock(monkeypatch):
    """``set_clock(seconds)`` sets the wall clock, for the runner and for APScheduler."""

    def set_to(shift: float) -> None:
        class Shifted(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + timedelta(seconds=shift)

        wall = time.time
        monkeypatch.setattr(time, "time", lambda: wall() + shift)
        for module in ("hsnn.indexer.jobs.runner", "apscheduler.schedulers.base", "apscheduler.triggers.interval"):
            monkeypatch.setattr(f"{module}.datetime", Shifted)

    return set_to


@pytest.mark.slow
@pytest.mark.parametrize("shift", [-3600.0, 3600.0, -172_800.0])
def test_a_wall_clock_that_is_set_changes_no_interval(runner, set_clock, shift) -> None:
    swept, called = [], []
    runner.add_job("swept", lambda: swept.append(1), every=0.02)
    runner.add_job("called", lambda: called.append(1), every=3600)
    runner.start()
    assert eventually(lambda: len(swept) >= 3 and called)
    set_clock(shift)
    runner.check_timeouts()
    begun = len(swept)
    assert eventually(lambda: len(swept) >= begun + 10)
    runner.trigger("called")
    assert eventually(lambda: len(called) >= 2)
    time.sleep(0.1)
    assert len(called) <= (3 if shift > 0 else 2), "an hour that did not pass brings one run too many, at most"


def test_a_job_that_runs_while_the_wall_clock_is_set_back_goes_on(runner, set_clock) -> None:
    starts, go = [], threading.Event()

    def job() -> None:
        starts.append(1)
        go.wait(DEADLINE)

    runner.add_job("job", job, every=0.02)
    runner.start()
    assert eventually(lambda: starts)
    set_clock(-3600.0)
    runner.check_timeouts()
    go.set()
    assert eventually(lambda: len(starts) >= 3)


def test_a_job_that_hangs_has_no_beat_and_the_others_have(lost) -> None:
    beats, go = [], threading.Event()
    runner = JobRunner(lost.set, timeout=0.05, beat=beats.append)
    runner.add_job("hangs", lambda: go.wait(DEADLINE), every=3600)
    runner.add_job("works", lambda: None, every=0.01)
    runner.add_job("paused", lambda: None, every=0.01)
    runner.pause("paused")
    runner.start()
    assert eventually(lambda: (beats.clear(), runner.check_timeouts(), set(beats) == {"works", "paused"})[-1])
    go.set()
    assert eventually(lambda: (beats.clear(), runner.check_timeouts(), "hangs" in beats)[-1])
    runner.stop()


def test_a_job_whose_thread_is_gone_has_no_beat(lost, monkeypatch) -> None:
    monkeypatch.setattr("hsnn.indexer.jobs.runner._START_SECONDS", 0.05)
    beats: list[str] = []
    runner = JobRunner(lost.set, beat=beats.append)
    runner.add_job("gone", lambda: None, every=0.01)  # never started, as if its threads had ended
    time.sleep(0.1)
    runner.check_timeouts()
    assert beats == []


def test_a_call_during_a_run_is_not_lost_and_runs_never_overlap(runner) -> None:
    work, seen, running, overlaps = [], [], [], []

    def job() -> None:
        overlaps.append(len(running))
        running.append(1)
        seen.append(len(work))
        time.sleep(0.02)
        running.pop()

    runner.add_job("job", job, every=3600)
    runner.start()
    for number in range(60):
        work.append(number)
        runner.trigger("job")
        time.sleep(0.003)
    assert eventually(lambda: seen[-1] == 60), "the last call must be seen by a run that began after it"
    assert set(overlaps) == {0}
    assert len(seen) < 60


def test_a_failing_job_is_tried_again(runner, lost) -> None:
    tries = []

    def job() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")

    before = runs("stubborn", "failed"), runs("stubborn", "done")
    runner.add_job("stubborn", job, every=0.02)
    runner.start()
    assert eventually(lambda: runs("stubborn", "done") > before[1])
    assert runs("stubborn", "failed") == before[0] + 2
    assert not lost.is_set()


def test_a_fenced_job_ends_the_lead(runner, lost) -> None:
    def job() -> None:
        raise FencedError("somebody else leads")

    runner.add_job("fenced", job, every=3600)
    runner.start()
    assert lost.wait(DEADLINE)


def test_a_sweep_that_falls_into_a_pause_is_made_up_for_once(runner) -> None:
    runs = []
    runner.add_job("swept", lambda: runs.append(1), every=3600)
    runner.pause("swept")
    runner.start()
    time.sleep(0.2)
    assert runs == [], "not even the first one"
    runner.resume("swept")
    assert eventually(lambda: runs), "now, not at the next sweep"


def test_resuming_what_was_not_due_starts_nothing(runner) -> None:
    runs = []
    runner.add_job("job", lambda: runs.append(1), every=3600)
    runner.start()
    assert eventually(lambda: len(runs) == 1)
    runner.pause("job")
    runner.resume("job")
    time.sleep(0.1)
    assert len(runs) == 1


def test_the_end_comes_though_a_job_is_called_while_it_waits_for_its_last_run(lost) -> None:
    runner, started, go = JobRunner(lost.set), threading.Event(), threading.Event()

    def job() -> None:
        started.set()
        go.wait(DEADLINE)

    runner.add_job("job", job, every=3600)
    runner.start()
    assert started.wait(DEADLINE)
    runner.trigger("job")
    stopping = threading.Thread(target=runner.stop, daemon=True)
    stopping.start()
    time.sleep(0.1)
    go.set()
    stopping.join(DEADLINE)
    assert not stopping.is_alive()


@pytest.mark.slow  # a mean of some gaps of 0.15 s
def test_jitter_delays_sweeps_by_its_share_at_most(lost) -> None:
    runner, starts = JobRunner(lost.set, jitter=1.0), []
    runner.add_job("job", lambda: starts.append(time.monotonic()), every=0.1)
    runner.start()
    assert eventually(lambda: len(starts) >= 12)
    runner.stop()
    gaps = [after - before for before, after in pairwise(starts)]
    assert sum(gaps) / len(gaps) > 0.11, "0.15 s on average"
    assert max(gaps) - min(gaps) > 0.02


def test_an_overrun_is_alarmed_while_it_runs_and_stops_at_a_safe_point(store, lost) -> None:
    audit = AuditTrail(store.redis, store.key("audit"))
    runner, go = JobRunner(lost.set, JobHistory(store, audit), timeout=0.5), threading.Event()

    def job() -> None:
        check_deadline("at the start")
        assert go.wait(DEADLINE)
        check_deadline("in the middle")

    runner.add_job("verify", job, every=3600)
    runner.start()
    assert eventually(lambda: (runner.check_timeouts(), audit.read())[-1])
    runner.check_timeouts()
    (alarm,) = audit.read()
    assert (alarm.event, alarm.kind, alarm.detail["job"]) == ("alarm", "job_overrun", "verify")
    assert next(job for job in list_jobs(store) if job.name == "verify").state.overrun_since == alarm.detail["ts"]
    go.set()
    assert eventually(lambda: run_history(store, "verify"))
    (run,) = run_history(store, "verify")
    assert run.outcome == "overrun"
    assert "stopped in the middle, after its limit of 0.5 s" in run.detail
    assert eventually(lambda: len(audit.read()) == 2)
    assert (audit.read()[1].event, audit.read()[1].outcome) == ("outcome", "overrun")
    runner.stop()
    assert not lost.is_set()


def test_an_overrun_that_nobody_watched_is_alarmed_at_its_end(store, lost) -> None:
    audit = AuditTrail(store.redis, store.key("audit"))
    runner = JobRunner(lost.set, JobHistory(store, audit), timeout=0.01)
    runner.add_job("clean", lambda: time.sleep(0.05), every=3600)
    runner.start()
    assert eventually(lambda: len(audit.read()) == 2)
    runner.stop()
    assert [(entry.event, entry.outcome) for entry in audit.read()] == [("alarm", ""), ("outcome", "done")]
    assert [run.outcome for run in run_history(store, "clean")] == ["done"], "it met no safe point, and is whole"


def test_a_leader_that_was_replaced_notices_when_it_notes_a_run(redis_client, lost) -> None:
    old = Lease(redis_client, 3600, "old")
    assert old.acquire()
    store = IndexStore(redis_client, old)
    assert Lease(redis_client, 3600, "new").acquire(force=True)
    runner = JobRunner(lost.set, JobHistory(store, AuditTrail(redis_client, store.key("audit"))))
    runner.add_job("clean", lambda: None, every=3600)
    runner.start()
    assert lost.wait(DEADLINE)
    runner.stop()
    assert run_history(store, "clean") == []


def state(store, name):
    return next(job for job in list_jobs(store) if job.name == name).state


def test_a_run_that_takes_long_is_shown_with_its_progress_until_it_ends(store, lost, monkeypatch) -> None:
    monkeypatch.setattr("hsnn.indexer.jobs.watchdog._SHOW_INTERVAL", 0.03)
    runner, go = JobRunner(lost.set, JobHistory(store, AuditTrail(store.redis, store.key("audit")))), threading.Event()

    def job() -> None:
        report_progress("items encoded", 3, 7)
        assert go.wait(DEADLINE)

    runner.add_job("refresh", job, every=3600)
    runner.start()

    def shown() -> bool:
        runner.check_timeouts()
        return state(store, "refresh").running is not None

    assert eventually(shown)
    found = state(store, "refresh").running
    assert found.progress == JobProgress("items encoded", 3, 7)
    assert abs(found.since - 1000 * time.time()) < 1000 * DEADLINE
    go.set()
    assert eventually(lambda: state(store, "refresh").last is not None)
    assert state(store, "refresh").running is None
    runner.check_timeouts()
    assert state(store, "refresh").running is None
    runner.stop()


def test_what_a_leader_did_not_run_its_successor_runs(store, lost) -> None:
    """A trigger is kept in memory; but every job runs when a leader begins, or once it is resumed."""
    first, runs = JobRunner(lost.set), []
    first.add_job("clean", lambda: runs.append("first"), every=3600)
    first.pause("clean")
    first.start()
    first.trigger("clean", "by hand")
    time.sleep(0.05)
    first.stop()
    second = JobRunner(lost.set)
    second.add_job("clean", lambda: runs.append("second"), every=3600)
    second.pause("clean")
    second.start()
    time.sleep(0.1)
    assert runs == []
    second.resume("clean")
    assert eventually(lambda: runs == ["second"])
    second.stop()


def test_log_lines_of_a_run_name_the_job_and_its_run(runner) -> None:
    seen: list[dict[str, str | int]] = []
    began = time.time_ns() // 1_000_000
    runner.add_job("settle", lambda: seen.append(current_ids()), every=3600)
    runner.start()
    assert eventually(lambda: len(seen) == 1)
    assert seen[0]["job"] == "settle"
    assert abs(int(seen[0]["run"]) - began) < 60_000
