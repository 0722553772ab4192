import time

import pytest

from hsnn.indexer.errors import FencedError
from hsnn.indexer.store.lease import Lease
from hsnn.streaming.redis.client import Redis

pytestmark = pytest.mark.every_server


def test_one_holds_it_at_a_time_and_tokens_grow(redis_client: Redis) -> None:
    first, second = Lease(redis_client, 3600, "a"), Lease(redis_client, 3600, "b")
    assert first.acquire()
    assert not second.acquire()
    assert first.renew()
    first.release()
    assert second.acquire()
    assert (first.held, second.held) == (False, True)
    assert second.token == 2


def test_an_unrenewed_lease_runs_out_and_cannot_be_renewed(redis_client: Redis) -> None:
    paused, other = Lease(redis_client, 0.05, "paused"), Lease(redis_client, 3600, "other")
    assert paused.acquire()
    time.sleep(0.1)
    assert not paused.held
    assert other.acquire()
    assert not paused.renew()
    paused.release()
    assert other.renew(), "a former holder must not take away the lease of the next"


def test_force_pushes_the_holder_out(redis_client: Redis) -> None:
    holder, person = Lease(redis_client, 3600, "holder"), Lease(redis_client, 3600, "person")
    assert holder.acquire()
    assert person.acquire(force=True)
    assert not holder.renew()
    with pytest.raises(FencedError, match="does not hold"):
        _ = holder.value
