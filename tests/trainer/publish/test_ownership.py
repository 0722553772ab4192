"""One trainer writes: a second is refused, a former one is fenced, and a killed one is followed."""

from __future__ import annotations

import logging
import time

import pytest

from hsnn.monitoring.alarms import Alarm
from hsnn.streaming.redis.keys import key
from hsnn.trainer.checkpoint.folder_lock import FolderLock
from hsnn.trainer.errors import OwnershipError
from hsnn.trainer.messages import FeedItem
from hsnn.trainer.online.loop import become_owner
from hsnn.trainer.publish import ownership as module
from hsnn.trainer.publish.ownership import Ownership, lease_key, owner_key
from hsnn.trainer.publish.redis_writer import RedisWriter
from tests.waiting import DEADLINE, wait_until


@pytest.fixture
def short_lease(monkeypatch) -> float:
    monkeypatch.setattr(module, "_LEASE_SECONDS", 0.3)
    return 0.3


def claimed(redis_client, **how) -> Ownership:
    ownership = Ownership(redis_client)
    ownership.claim(**how)
    return ownership


def test_a_second_trainer_is_refused_while_the_first_renews(redis_client, monkeypatch):
    monkeypatch.setattr("hsnn.streaming.redis.lease_keeper._RENEWALS_PER_TTL", 1000)
    first, second = Ownership(redis_client), Ownership(redis_client)
    first.wait_and_claim()
    redis_client.pexpire(lease_key(), 5000)
    wait_until(lambda: redis_client.pttl(lease_key()) > 5000)
    monkeypatch.setattr(module, "_LEASE_SECONDS", 0.3)  # for the second one
    with pytest.raises(OwnershipError, match=r"there can be one only; .* --take-over") as caught:
        second.wait_and_claim()
    assert caught.value.exit_status == 3
    assert first.write("INCR", key("snapshot_number")) == 1
    first.release()


def test_one_that_ended_in_order_is_followed_at_once(redis_client):
    first = Ownership(redis_client)
    first.wait_and_claim()
    first.release()
    assert claimed(redis_client).owner.token == first.owner.token + 1


def test_one_that_was_killed_is_followed_when_its_lease_ends(redis_client, short_lease):
    claimed(redis_client)  # no thread renews it
    begun = time.monotonic()
    second = Ownership(redis_client)
    second.wait_and_claim()
    second.release()
    assert 0.5 * short_lease < time.monotonic() - begun < DEADLINE


def test_who_is_known_to_be_dead_is_not_waited_for(redis_client):
    first = claimed(redis_client)
    assert claimed(redis_client, dead=str(first.owner)).owner.token == first.owner.token + 1
    with pytest.raises(OwnershipError):
        claimed(redis_client, dead=str(first.owner))  # the owner is another one by now


def test_a_former_owner_cannot_write_anything(redis_client):
    former = RedisWriter(redis_client)
    RedisWriter(redis_client)
    before = {name: redis_client.dump(name) for name in redis_client.scan_iter()}
    alarm = Alarm(id="a", kind="a", ts=1, value=1.0, threshold=1.0)
    item = FeedItem(id="i", row=0, tokens=[], features={}, ts=1, sent_at=1)
    writes = [
        former.next_snapshot,
        former.begin_epoch,
        lambda: former.write_progress({"trained": 1}),
        lambda: former.write_feed([item]),
        lambda: former.write_alarm(alarm, 0),
    ]
    for write in writes:
        with pytest.raises(OwnershipError, match="has taken over"):
            write()
    assert {name: redis_client.dump(name) for name in redis_client.scan_iter()} == before


def test_a_server_that_lost_its_data_has_the_same_owner_again(redis_client, caplog):
    writer = RedisWriter(redis_client)
    writer.begin_epoch()
    redis_client.flushdb()
    with caplog.at_level(logging.WARNING):
        writer.write_progress({"trained": 1})
    assert "has lost its data" in caplog.text
    assert writer.server_restarted
    last = writer.epoch
    writer.restart_epochs()
    assert writer.epoch > last
    assert int(redis_client.get(key("epoch"))) == writer.epoch
    writer.write_progress({"trained": 2})
    assert not writer.server_restarted


def test_a_zombie_cannot_use_an_emptied_server(redis_client):
    zombie = RedisWriter(redis_client)
    owner = RedisWriter(redis_client)
    redis_client.flushdb()
    zombie.write_progress({"trained": 1})  # nobody can tell it yet
    for _ in range(2):
        owner.write_progress({"trained": 2})
    with pytest.raises(OwnershipError):
        zombie.write_progress({"trained": 1})
    owner.write_progress({"trained": 2})


def test_a_killed_trainer_is_followed_at_once_in_its_folder(redis_client, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LEASE_SECONDS", DEADLINE)
    first, lock = become_owner(redis_client, tmp_path)
    first._keeper._lost.set()  # as if killed: no renewal, no release
    name = str(first.owner)
    del lock  # the system frees the lock of a process that ended; its lease in Redis stays
    assert redis_client.get(lease_key()).decode() == name
    begun = time.monotonic()
    second, _lock = become_owner(redis_client, tmp_path)
    assert time.monotonic() - begun < module._LEASE_SECONDS / 2  # it does not wait for that lease
    assert redis_client.get(owner_key()).decode() == str(second.owner) != name
    second.release()


def test_a_second_trainer_in_the_same_folder_says_at_once_what_it_waits_for(tmp_path, caplog):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire(0.0)
    first.note_owner("host/1")
    with pytest.raises(OwnershipError, match="is in use by the trainer host/1"):
        second.acquire(0.25)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("hsnn.")]
    assert line == f"{tmp_path} is in use by the trainer host/1; waiting up to 0.25 s for it to end"


def test_a_second_trainer_in_the_same_folder_is_refused(redis_client, tmp_path, monkeypatch):
    monkeypatch.setattr("hsnn.trainer.online.loop._FOLDER_SECONDS", 0.0)
    first, lock = become_owner(redis_client, tmp_path)
    with pytest.raises(OwnershipError, match=f"{tmp_path} is in use by the trainer"):
        become_owner(redis_client, tmp_path)
    first.release()
    assert lock.previous_owner == ""


def test_a_take_over_ends_the_other_trainer_at_its_next_write(redis_client, tmp_path):
    first, lock = become_owner(redis_client, tmp_path / "one")
    writer = RedisWriter(redis_client, ownership=first)
    second, _ = become_owner(redis_client, tmp_path / "two", take_over=True)
    with pytest.raises(OwnershipError, match="has taken over"):
        writer.write_progress({})
    RedisWriter(redis_client, ownership=second).write_progress({})
    first.release()  # is of no concern to the second
    assert redis_client.get(lease_key()).decode() == str(second.owner)
    second.release()
    assert lock is not None
