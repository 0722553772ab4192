import numpy as np
import pytest

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import FencedError
from hsnn.indexer.jobs.rebalance import BalanceBounds, Rebalancer, find_unbalanced, last_request
from hsnn.indexer.store.lease import Lease
from hsnn.monitoring.audit import AuditTrail

BOUNDS = BalanceBounds(over_mean=3.0, floor=10, starved=0.1)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def sent() -> list:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def audit(store) -> AuditTrail:
    return AuditTrail(store.redis, store.key("audit"))


@pytest.fixture
def rebalancer(leader, config, audit, sent, clock) -> Rebalancer:
    bounds = {"rebalance_over_mean": 2.0, "node_floor": 5, "rebalance_pause": 60.0}
    return Rebalancer(leader, config.model_copy(update=bounds), audit, sent.append, clock)


def crowd(toy, follow, leader, count=12) -> None:
    for number in range(count):
        toy.put(f"more{number}", 1)
    follow(leader)


def test_full_nodes_are_named_the_fullest_first():
    sizes = np.r_[np.full(20, 5), 40, 60]
    assert find_unbalanced(sizes, BOUNDS).split == (21, 20)
    assert find_unbalanced(np.full(22, 5), BOUNDS) == ((), ())


def test_small_nodes_are_nobodys_concern():
    assert find_unbalanced(np.r_[np.zeros(30, np.int64), 10], BOUNDS) == ((), ()), "10 items, whatever the mean"
    assert find_unbalanced(np.zeros(4, np.int64), BOUNDS) == ((), ())


def test_some_starved_nodes_are_tolerated_many_are_merged_away():
    assert find_unbalanced(np.r_[0, 0, np.full(20, 100)], BOUNDS).merge == ()
    assert find_unbalanced(np.r_[4, 0, 0, np.full(20, 100)], BOUNDS).merge == (1, 2, 0)


def test_a_balanced_index_asks_for_nothing(rebalancer, leader, toy, sent):
    assert rebalancer.check() is None, "there is no version"
    leader.publish(toy.snapshot(), "test")
    assert rebalancer.check() is None
    assert sent == []


def test_an_overfull_node_leads_to_one_command_on_record(rebalancer, leader, store, toy, follow, sent, audit, clock):
    leader.publish(toy.snapshot(), "test")
    crowd(toy, follow, leader)
    command = rebalancer.check()
    assert sent == [command]
    assert (command.split, command.merge, command.generation, command.version) == ((1,), (), 0, 1)
    assert (command.ts, command.over) == (toy.watermark, 2.0)
    entry = audit.read()[-1]
    assert (entry.event, entry.action, entry.detail["split"]) == ("action", "rebalance", [1])
    assert rebalancer.check() is None
    clock.now += 59
    assert rebalancer.check() is None
    assert len(sent) == 1


def test_it_is_asked_again_after_the_pause_also_by_a_successor(rebalancer, leader, store, toy, follow, sent, clock):
    leader.publish(toy.snapshot(), "test")
    crowd(toy, follow, leader)
    rebalancer.check()
    successor = Leader(store, Builder(store))
    successor.resume()
    rebalancer._leader = successor
    assert rebalancer.check() is None
    clock.now += 61
    assert rebalancer.check() == sent[1] == sent[0]


def test_an_answer_is_put_on_record_once(rebalancer, leader, store, toy, follow, sent, audit, monkeypatch, clock):
    leader.publish(toy.snapshot(), "test")
    crowd(toy, follow, leader)
    rebalancer.check()
    toy.generation = 1
    for item in toy.items[8:]:
        item.cluster = toy.row(item.id) % 4
    leader.publish(toy.snapshot(), "test")
    clock.now += 61
    assert rebalancer.check() is None
    outcome = audit.read()[-1]
    assert (outcome.event, outcome.action, outcome.outcome, outcome.version) == ("outcome", "rebalance", "done", 2)
    assert (outcome.detail["before"], outcome.detail["after"], outcome.detail["generation"]) == (2.8, 1.0, 1)
    assert last_request(store).answered
    before = len(audit.read())
    rebalancer.check()
    assert len(audit.read()) == before


def test_what_could_not_be_sent_is_not_noted(rebalancer, leader, store, toy, follow, sent):
    leader.publish(toy.snapshot(), "test")
    crowd(toy, follow, leader)
    rebalancer._send = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        rebalancer.check()
    assert last_request(store) is None
    rebalancer._send = sent.append
    assert rebalancer.check() is not None


def test_a_former_leader_notes_nothing(rebalancer, leader, store, toy, follow, redis_client):
    leader.publish(toy.snapshot(), "test")
    crowd(toy, follow, leader)
    assert Lease(redis_client, 3600, "new").acquire(force=True)
    with pytest.raises(FencedError):
        rebalancer.check()
    assert last_request(store) is None
