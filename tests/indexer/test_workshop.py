import threading
import time

import pytest
from prometheus_client import REGISTRY

from indexer.errors import FencedError
from indexer.workshop import Workshop


def runs(job: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("hsnn_job_runs_total", {"job": job, "outcome": outcome}) or 0.0


def eventually(condition, seconds=5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


@pytest.fixture
def lost() -> threading.Event:
    return threading.Event()


@pytest.fixture
def workshop(lost):
    made = Workshop(lost.set)
    yield made
    made.stop()


def test_a_job_runs_at_the_start_at_calls_and_by_the_sweep(workshop) -> None:
    called, swept = [], []
    workshop.add("called", lambda: called.append(time.monotonic()), every=3600)
    workshop.add("swept", lambda: swept.append(1), every=0.05)
    workshop.start()
    assert eventually(lambda: len(called) == 1)
    asked = time.monotonic()
    workshop.wake("called")
    assert eventually(lambda: len(called) == 2)
    assert called[1] - asked < 0.5
    assert eventually(lambda: len(swept) >= 4)


def test_a_call_during_a_run_is_not_lost_and_runs_never_overlap(workshop) -> None:
    work, seen, running, overlaps = [], [], [], []

    def job() -> None:
        overlaps.append(len(running))
        running.append(1)
        seen.append(len(work))
        time.sleep(0.02)
        running.pop()

    workshop.add("job", job, every=3600)
    workshop.start()
    for number in range(60):
        work.append(number)
        workshop.wake("job")
        time.sleep(0.003)
    assert eventually(lambda: seen[-1] == 60), "the last call must be seen by a run that began after it"
    assert set(overlaps) == {0}
    assert len(seen) < 60


def test_a_failing_job_is_tried_again(workshop, lost) -> None:
    tries = []

    def job() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")

    before = runs("stubborn", "failed"), runs("stubborn", "done")
    workshop.add("stubborn", job, every=0.02)
    workshop.start()
    assert eventually(lambda: runs("stubborn", "done") > before[1])
    assert runs("stubborn", "failed") == before[0] + 2
    assert not lost.is_set()


def test_a_fenced_job_ends_the_lead(workshop, lost) -> None:
    def job() -> None:
        raise FencedError("somebody else leads")

    workshop.add("fenced", job, every=3600)
    workshop.start()
    assert lost.wait(5)
