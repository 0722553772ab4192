from indexer.verify import verify


def test_planted_damage_of_every_kind_is_named(leader, store, toy) -> None:
    leader.publish(toy.snapshot(), "test")
    assert verify(store, 1).clean
    items = store.key("items", 1)
    store.redis.hdel(items, "i1")
    store.redis.hset(items, "ghost", 2)
    store.redis.hset(items, "i2", 0)
    report = verify(store, 1)
    assert (report.missing, report.extra, report.misplaced) == (["i1"], ["ghost"], ["i2"])
    assert not report.clean
