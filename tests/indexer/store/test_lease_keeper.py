import time
from functools import partial
from threading import Event

import pytest
import redis

from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.lease_keeper import LeaseKeeper
from hsnn.streaming.redis.client import Redis
from tests import waiting

pytestmark = pytest.mark.every_server

eventually = partial(waiting.eventually, seconds=20.0)


@pytest.fixture
def brief(redis_client: Redis) -> Lease:
    """A lease that runs out soon if nobody renews it."""
    lease = Lease(redis_client, 2.0, "brief")
    assert lease.acquire()
    return lease


def test_the_lease_is_kept_while_the_holder_works_and_released_after(redis_client: Redis, brief: Lease) -> None:
    renewals, lost, other = [], Event(), Lease(redis_client, 30, "other")
    with LeaseKeeper(brief, lost, on_renewal=lambda: renewals.append(1)):
        assert eventually(lambda: len(renewals) >= 4)
        assert not lost.is_set()
        assert brief.held
        assert not other.acquire()
    assert other.acquire(), "released"


def test_a_holder_that_is_pushed_out_learns_of_it(redis_client: Redis, brief: Lease) -> None:
    lost, other = Event(), Lease(redis_client, 30, "other")
    with LeaseKeeper(brief, lost):
        assert other.acquire(force=True)
        assert lost.wait(5)
    assert other.renew(), "whose lease was not released"


def test_a_restarted_server_ends_the_lease(redis_client: Redis, brief: Lease) -> None:
    lost, server = Event(), ["first"]
    with LeaseKeeper(brief, lost, same_server=lambda: server == ["first"]):
        assert not lost.wait(0.3)
        server[0] = "second"
        assert lost.wait(5)


def test_an_unreachable_server_is_asked_again_as_long_as_the_lease_may_be_valid(brief: Lease, monkeypatch) -> None:
    attempts, lost, renew = [], Event(), brief.renew

    def unreachable() -> bool:
        attempts.append(time.monotonic())
        raise redis.ConnectionError("away")

    with LeaseKeeper(brief, lost):
        monkeypatch.setattr(brief, "renew", unreachable)
        assert eventually(lambda: len(attempts) >= 2)
        monkeypatch.setattr(brief, "renew", renew)
        assert not lost.wait(0.3), "it came back in time"
        monkeypatch.setattr(brief, "renew", unreachable)
        assert lost.wait(5)
        assert not brief.held


def test_an_error_of_the_holder_releases_the_lease(redis_client: Redis, brief: Lease) -> None:
    with pytest.raises(ZeroDivisionError), LeaseKeeper(brief, Event()):
        _ = 1 / 0
    assert Lease(redis_client, 30, "other").acquire()
