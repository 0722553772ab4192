import time

import pytest
import redis

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import JobTimeoutError
from hsnn.indexer.job_context import deadline
from hsnn.indexer.verify.verify import verify

pytestmark = pytest.mark.every_server


def published(leader, toy):
    leader.publish(toy.snapshot(), "test")
    return leader


def newest(store, version=1):
    return store.read_deltas(version)[-1][1]


def test_before_the_first_version_there_is_nothing_to_do(leader, toy) -> None:
    leader.resume()
    assert (leader.read_positions(), leader.reconcile()) == ((None, {}), [])


def test_items_fed_after_the_snapshot_are_in_the_first_version(leader, store, toy) -> None:
    number = toy.snapshot()
    toy.put("late", 2, sent_at=77)
    toy.delete("i0")
    leader.publish(number, "first")
    assert store.item_nodes(1) == toy.alive()
    told = {delta.item: delta for _, delta in store.read_deltas(1)}
    assert (told["late"].sent_at, told["late"].node, told["late"].features) == (77, 2, {"cluster": 2})
    assert told["i0"].reason == "deleted"


def announced(store):
    return [int(fields[b"n"]) for _, fields in store.redis.xrange(store.key("announced"))]


def test_readers_get_as_much_time_to_load_a_version_as_making_it_took(leader, store, toy, monkeypatch) -> None:
    draft, waited = Builder.build_draft, []
    monkeypatch.setattr(Builder, "build_draft", lambda *given: (time.sleep(0.2), draft(*given))[1])
    monkeypatch.setattr(Leader, "_wait", lambda _, seconds: waited.append((seconds, store.current())))
    published(leader, toy)
    assert (announced(store), waited) == ([], []), "nobody reads yet"
    published(leader, toy)
    assert announced(store) == [2]
    ((seconds, current),) = waited
    assert seconds >= 0.2
    assert current == 1, "before the flip"
    assert store.current() == 2


def test_arrivals_while_readers_load_a_version_are_in_both(leader, store, toy, follow, monkeypatch) -> None:
    published(leader, toy)

    def wait(leader: Leader, _: float) -> None:
        toy.put("meanwhile", 1, sent_at=5)
        follow(leader)

    monkeypatch.setattr(Leader, "_wait", wait)
    published(leader, toy)
    assert store.item_nodes(1) == store.item_nodes(2) == toy.alive()


def test_a_job_whose_time_is_over_stops_waiting_for_readers(leader) -> None:
    with pytest.raises(JobTimeoutError, match="while readers load a version"), deadline(0.01):
        leader._wait(60.0)


def test_readers_are_not_waited_for_at_the_end(leader, jobs) -> None:
    jobs.stop()
    began = time.monotonic()
    leader._wait(60.0)
    assert time.monotonic() - began < 60


def test_a_new_item_gets_the_node_of_its_content(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.put("new", 3, expires_at=99_999, sent_at=123)
    follow(leader)
    delta = newest(store)
    assert (delta.op, delta.item, delta.row, delta.node, delta.reason) == ("insert", "new", 8, 3, "new")
    assert (delta.sent_at, delta.expires_at, delta.first, delta.last) == (123, 99_999, 10_000, 10_000)
    assert delta.vector is not None
    assert delta.vector.tolist() == [4.0, -4.0, 0.0], "content alone speaks for an item without embedding"
    assert store.item_nodes(1) == toy.alive()


def test_the_same_entry_again_writes_no_delta(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.put("new", 3, sent_at=5)
    follow(leader)
    last = store.last_delta_id(1)
    toy.feed(8, sent_at=5)
    toy.flush(8)
    follow(leader)
    assert store.last_delta_id(1) == last


def test_idle_items_leave_and_come_back_by_themselves(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.pass_time(600)
    toy.engage("i1")
    toy.pass_time(600)
    follow(leader)
    assert store.item_nodes(1) == {"i1": 1} == toy.alive()
    assert {delta.reason for _, delta in store.read_deltas(1)} == {"expired"}
    toy.engage("i5")
    follow(leader)
    assert store.item_nodes(1) == {"i1": 1, "i5": 1} == toy.alive()
    returned = [delta for _, delta in store.read_deltas(1) if delta.op == "insert"]
    assert [(delta.item, delta.reason, delta.sent_at) for delta in returned] == [("i5", "returned", 0)]


def test_an_item_leaves_at_its_own_end_not_before(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.put("offer", 0, expires_at=toy.watermark + 100)
    toy.pass_time(99)
    follow(leader)
    assert "offer" in store.item_nodes(1)
    toy.pass_time(1)
    follow(leader)
    assert "offer" not in store.item_nodes(1)
    toy.put("offer", 0, expires_at=toy.watermark + 100)
    follow(leader)
    assert "offer" in store.item_nodes(1)


def test_without_idle_limit_items_stay(leader, store, toy, follow) -> None:
    toy.idle = None
    published(leader, toy)
    toy.pass_time(10**9)
    follow(leader)
    assert len(store.item_nodes(1)) == 8


def test_deleted_items_leave_and_changed_ones_move(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.delete("i2")
    follow(leader)
    assert newest(store).reason == "deleted"
    toy.put("i3", 0, sent_at=9)
    follow(leader)
    delta = newest(store)
    assert (delta.op, delta.reason, delta.item, delta.sent_at) == ("move", "changed", "i3", 9)
    assert delta.features == {"cluster": 0}
    toy.put("i2", 2)
    follow(leader)
    assert store.item_nodes(1)["i2"] == 2


def test_a_new_end_of_life_is_told(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.put("i0", 0, expires_at=50_000)
    follow(leader)
    assert (newest(store).op, newest(store).expires_at) == ("move", 50_000)


def test_a_new_model_moves_every_item(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.put("since", 1)
    follow(leader)
    toy.shift = 1
    published(leader, toy)
    assert store.current() == 2
    assert store.item_nodes(2) == toy.alive() == {f"i{n}": (n + 1) % 4 for n in range(8)} | {"since": 2}


def test_what_comes_while_a_version_is_built_is_not_lost(store, toy, follow) -> None:
    class Interrupted(Builder):
        """Between draft and flip the world goes on: the old version gets deltas."""

        def build_draft(self, number, reason, current_nodes):
            made = super().build_draft(number, reason, current_nodes)
            if number == 2:
                toy.put("during", 2, sent_at=55)
                toy.delete("i0")
                follow(leader)
                toy.put("unseen", 3, sent_at=66)
            return made

    leader = Leader(store, Interrupted(store))
    published(leader, toy)
    toy.shift = 2
    published(leader, toy)
    assert {"during", "unseen"} <= store.item_nodes(2).keys()
    assert store.item_nodes(2) == toy.alive()
    sent = {delta.item: delta.sent_at for _, delta in store.read_deltas(2) if delta.op == "insert"}
    assert sent == {"during": 0, "unseen": 66}, "the old version told of `during` already; its freshness counts once"
    assert verify(store, 2).clean


def test_after_a_flip_entries_read_for_the_old_catalogue_are_left_alone(leader, store, toy) -> None:
    from hsnn.indexer.store.streams import read_entries

    published(leader, toy)
    catalogue, positions = leader.read_positions()
    toy.put("new", 1)
    entries = read_entries(store.redis, positions)
    published(leader, toy)
    assert leader.apply_entries(catalogue, entries) == []
    assert store.item_nodes(2) == toy.alive()


def test_a_successor_takes_up_where_the_leader_stopped(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.put("a", 1, sent_at=5)
    toy.delete("i0")
    follow(leader)
    toy.put("b", 2, sent_at=6)
    toy.put("i3", 1)
    successor = Leader(store, Builder(store))
    successor.resume()
    assert store.item_nodes(1) == toy.alive()
    assert [delta.item for _, delta in store.read_deltas(1)].count("a") == 1
    assert verify(store, 1).clean
    assert successor.reconcile() == []


def test_a_new_incarnation_waits_for_its_own_snapshot(leader, store, toy, follow) -> None:
    published(leader, toy)
    before = store.item_nodes(1)
    toy.restart()
    toy.put("new", 0)
    toy.pass_time(10_000)
    follow(leader)
    assert store.item_nodes(1) == before, "rows of another epoch mean other items"
    toy.engage("i4")
    published(leader, toy)
    assert store.load_version(2).manifest.epoch == 2
    assert store.item_nodes(2) == toy.alive() == {"i4": 0}


def test_after_a_rollback_the_older_version_is_brought_up_to_date(leader, store, toy, follow) -> None:
    published(leader, toy)
    toy.shift = 1
    published(leader, toy)
    toy.put("since", 2)
    toy.delete("i0")
    follow(leader)
    store.rollback(1)
    toy.shift = 0
    again = Leader(store, Builder(store))
    again.resume()
    assert store.item_nodes(1) == toy.alive()
    assert verify(store, 1).clean


def test_an_unreadable_entry_is_passed_over(leader, store, toy, follow) -> None:
    published(leader, toy)
    store.redis.xadd(store.key("feed"), {"d": b"\xc1 no feed"})
    store.redis.xadd(store.key("state"), {"x": b"no state"})
    store.redis.xadd(store.key("state"), {"d": b"\x92\x01\x02"})
    toy.put("new", 3)
    follow(leader)
    assert store.item_nodes(1) == toy.alive()


def test_a_pointer_that_leads_nowhere_is_repaired_by_the_next_snapshot(leader, store, toy) -> None:
    published(leader, toy)
    store.redis.delete(store.key("version", 1), store.key("deltas", 1))
    successor = Leader(store, Builder(store))
    successor.resume()
    published(successor, toy)
    assert store.current() == 2
    assert store.item_nodes(2) == toy.alive()


def test_what_was_written_though_the_answer_was_lost_is_known(leader, store, toy, follow, monkeypatch) -> None:
    published(leader, toy)
    toy.put("new", 3)
    run_script = store.run_script

    def lost(script, **options) -> None:
        run_script(script, **options)
        raise redis.ConnectionError("the answer was lost")

    monkeypatch.setattr(store, "run_script", lost)
    with pytest.raises(redis.ConnectionError):
        follow(leader)
    monkeypatch.setattr(store, "run_script", run_script)
    toy.delete("new")
    follow(leader)
    leader.reconcile()
    assert store.item_nodes(1) == toy.alive()
    assert leader.node_sizes()[1].tolist() == [2, 2, 2, 2]
    assert verify(store, 1).clean


def test_a_call_without_an_answer_changes_nothing_once_the_leader_has_looked(
    leader, store, toy, follow, monkeypatch
) -> None:
    published(leader, toy)
    names, held = [f"new{number}" for number in range(6)], []
    for name in names:
        toy.put(name, 3)
    run_script = store.run_script

    def lost(script, **options) -> None:
        held.append((script, options))
        raise redis.ConnectionError("the call is on its way")

    monkeypatch.setattr(store, "run_script", lost)
    with pytest.raises(redis.ConnectionError):
        follow(leader)
    monkeypatch.setattr(store, "run_script", run_script)
    for name in names:
        toy.delete(name)
    follow(leader)
    for script, options in held:
        run_script(script, **options)
    assert store.item_nodes(1) == toy.alive()
    assert verify(store, 1).clean


def test_an_end_is_obeyed_where_the_stream_is_quiet(leader, store, toy) -> None:
    toy.put("ends", 1, expires_at=toy.watermark + 60_000)
    published(leader, toy)
    seconds, _ = store.redis.time()
    progress = {"watermark": toy.watermark, "arrived_at": 1000 * seconds - 59_000}
    store.redis.hset(store.key("progress"), mapping=progress)
    assert leader.obey_ends() == []
    store.redis.hset(store.key("progress"), mapping=progress | {"arrived_at": 1000 * seconds - 61_000})
    again = Leader(store, leader._builder)  # which has seen nothing of the silence
    again.resume()
    assert [(delta.item, delta.reason) for delta in again.obey_ends()] == [("ends", "expired")]
    assert "ends" not in store.item_nodes(1)
    report = verify(store, 1)
    assert (report.clean, report.catalogue_checked) == (True, True)


def test_a_mass_of_ends_in_the_silence_is_an_alarm_until_it_is_confirmed(leader, store, toy, follow) -> None:
    toy.mass_expiry_share = 0.5
    for number in range(30):
        toy.put(f"ends{number}", number % 4, expires_at=toy.watermark + 60_000)
    published(leader, toy)
    seconds, _ = store.redis.time()
    store.redis.hset(store.key("progress"), mapping={"watermark": toy.watermark, "arrived_at": 1000 * seconds - 61_000})
    assert leader.own_alarms() == []
    assert leader.obey_ends() == []
    (alarm,) = leader.own_alarms()
    assert (alarm.kind, alarm.value, alarm.threshold) == ("mass_expiry", 30 / 38, 0.5)
    again = Leader(store, leader._builder)
    again.resume()
    again.obey_ends()
    assert [other.id for other in again.own_alarms()] == [alarm.id], "the next leader raises the same one"
    toy.expiry_confirmed = toy.watermark + 10 * 60_000
    toy.flush()
    follow(leader)
    assert len(leader.obey_ends()) == 30
    assert leader.own_alarms() == []
