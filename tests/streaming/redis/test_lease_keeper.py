from queue import Queue
from threading import Event

import pytest
import redis

from hsnn.streaming.redis.lease_keeper import LeaseKeeper
from tests.waiting import DEADLINE


class FakeLease:
    """A lease whose next renewals answer what they are told: True, False, or an error."""

    ttl = 0.005

    def __init__(self) -> None:
        self.held, self.released, self.renewals = True, False, 0
        self.answers: Queue[bool | Exception] = Queue()

    def renew(self) -> bool:
        self.renewals += 1
        answer = self.answers.get(timeout=DEADLINE)
        self.answers.task_done()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def release(self) -> None:
        self.held, self.released = False, True


@pytest.fixture
def lease() -> FakeLease:
    return FakeLease()


def answered(lease: FakeLease, *answers: bool | Exception) -> None:
    """Let the next renewals answer these, and return when they have."""
    for answer in answers:
        lease.answers.put(answer)
    lease.answers.join()


def test_the_lease_is_kept_while_the_holder_works_and_released_after(lease):
    renewed, lost = Event(), Event()
    with LeaseKeeper(lease, lost, on_renewal=renewed.set):
        answered(lease, True, True, True)
        assert renewed.wait(DEADLINE)
        assert not lost.is_set()
        assert not lease.released
        lost.set()
        lease.answers.put(True)
    assert lease.released


def test_a_holder_that_is_pushed_out_learns_of_it(lease):
    lost = Event()
    with LeaseKeeper(lease, lost):
        answered(lease, True, False)
        assert lost.wait(DEADLINE)
    assert lease.renewals == 2, "the thread has ended"


def test_a_restarted_server_ends_the_lease(lease):
    lost, servers = Event(), iter([True, False])
    with LeaseKeeper(lease, lost, same_server=lambda: next(servers)):
        answered(lease, True, True)
        assert lost.wait(DEADLINE)


def test_an_unreachable_server_is_asked_again_as_long_as_the_lease_may_be_valid(lease):
    lost, away = Event(), redis.ConnectionError("away")
    with LeaseKeeper(lease, lost):
        answered(lease, away, away, True)
        assert not lost.is_set(), "it came back in time"
        lease.held = False
        answered(lease, away)
        assert lost.wait(DEADLINE)


def test_an_error_of_the_holder_releases_the_lease(lease):
    lease.answers.put(False)
    with pytest.raises(ZeroDivisionError), LeaseKeeper(lease, Event()):
        _ = 1 / 0
    assert lease.released


def test_a_keeper_without_a_block_is_started_and_stopped(lease):
    lost = Event()
    keeper = LeaseKeeper(lease, lost)
    keeper.start()
    answered(lease, True)
    lease.answers.put(True)
    keeper.stop()
    assert lost.is_set()
    assert lease.released
