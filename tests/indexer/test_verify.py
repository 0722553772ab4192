import pytest

from indexer.delta import Delta
from indexer.verify import KINDS, verify

pytestmark = pytest.mark.every_server


@pytest.fixture
def version(leader, store, toy) -> str:
    """Version 1 of eight items; the name of its item map."""
    leader.publish(toy.snapshot(), "test")
    assert verify(store, 1).clean
    return store.key("items", 1)


def test_planted_damage_of_every_kind_is_named(store, toy, version) -> None:
    store.redis.hdel(version, "i1")
    store.redis.hset(version, "ghost", 2)
    store.redis.hset(version, "i2", 0)
    store.redis.hset(version, "i3", "no number")
    toy.delete("i4")
    toy.put("new", 1)
    store.apply(1, [Delta("delete", 1, 5, "i5")])
    report = verify(store, 1)
    assert (report.missing, report.extra, report.misplaced) == (["i1"], ["ghost"], ["i2", "i3"])
    assert (report.stale, report.unassigned, report.judged) == (["i4"], ["i5", "new"], True)
    assert report.counts == {"missing": 1, "extra": 1, "misplaced": 2, "stale": 1, "unassigned": 2}
    assert set(report.counts) == set(KINDS)
    assert not report.clean


def test_items_that_expired_by_the_watermark_are_stale(store, toy, version) -> None:
    toy.pass_time(999)
    toy.engage("i0")
    assert verify(store, 1).clean, "each has a millisecond left"
    toy.pass_time(1)
    assert verify(store, 1).stale == [f"i{number}" for number in range(1, 8)]


def test_an_item_that_left_and_was_put_back_into_the_map_is_stale(leader, store, toy, version, follow) -> None:
    toy.delete("i4")
    follow(leader)
    assert verify(store, 1).clean
    store.redis.hset(version, "i4", 0)
    assert (verify(store, 1).stale, verify(store, 1).extra) == (["i4"], ["i4"])


def test_what_the_leader_does_within_the_patience_is_no_damage(leader, store, toy, version, follow) -> None:
    toy.delete("i4")
    toy.put("new", 1)
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        follow(leader)
        toy.put("newer", 2)

    assert verify(store, 1, 3.0, wait).clean
    assert waited == [3.0]
    assert verify(store, 1, 3.0, waited.append).unassigned == ["newer"]


def test_a_version_that_is_not_in_use_is_held_against_no_catalogue(leader, store, toy, version) -> None:
    leader.publish(toy.snapshot(), "test")
    toy.pass_time(5000)
    assert verify(store, 1).clean
    assert not verify(store, 1).judged
    assert len(verify(store, 2).stale) == 8
    store.redis.hdel(version, "i1")
    assert verify(store, 1).missing == ["i1"]
