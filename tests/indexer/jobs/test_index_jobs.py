from types import SimpleNamespace

import pytest

from hsnn.indexer.admin import operations
from hsnn.indexer.build.builder import VersionDraft
from hsnn.indexer.errors import JobTimeoutError, SnapshotNotFoundError
from hsnn.indexer.job_context import deadline
from hsnn.indexer.jobs.alarm_handler import AlarmHandler
from hsnn.indexer.verify.verify import KINDS
from hsnn.monitoring.alarms import Alarm, AlarmRules
from hsnn.monitoring.audit import AuditTrail
from hsnn.trainer.snapshot_chunks import snapshots_with_chunks


@pytest.fixture
def audit(store) -> AuditTrail:
    return AuditTrail(store.redis, store.key("audit"))


@pytest.fixture
def answers(store, jobs, audit) -> AlarmHandler:
    return AlarmHandler(store, AlarmRules({"loss_drift": "refresh"}), audit, jobs.refresh_for)


def raise_alarm(store, kind="loss_drift", name="loss_drift:7", snapshot=None) -> None:
    alarm = Alarm(id=name, kind=kind, ts=7, value=6.5, threshold=5.5, detail="loss 5.0 -> 6.5")
    store.redis.xadd(store.key("alarms"), {"d": alarm.encode()} | ({"snapshot": snapshot} if snapshot else {}))


def test_refresh_publishes_only_the_newest_snapshot_and_once(store, jobs, toy) -> None:
    assert jobs.refresh() is None
    toy.snapshot(), toy.snapshot()
    newest = toy.snapshot()
    manifest = jobs.refresh()
    assert (manifest.snapshot, manifest.version, manifest.reason) == (newest, 1, "first")
    assert jobs.refresh() == manifest
    assert store.versions() == [1]
    toy.snapshot()
    assert jobs.refresh().reason == "snapshot"


def test_after_a_rollback_the_snapshot_that_was_rolled_back_is_not_published_again(store, jobs, toy) -> None:
    toy.snapshot()
    jobs.refresh()
    toy.snapshot()
    jobs.refresh()
    store.rollback(1)
    jobs.refresh()
    assert store.current() == 1
    toy.snapshot()
    jobs.refresh()
    assert store.current() == 3


def test_a_new_incarnation_is_newer_whatever_the_numbers_say(store, jobs, toy) -> None:
    toy.snapshot(), toy.snapshot()
    jobs.refresh()
    toy.restart()
    store.redis.set(store.key("snapshot_number"), 0)
    toy.snapshot()
    assert jobs.refresh().epoch == 2


def test_half_written_snapshots_go_and_the_one_being_written_stays(store, jobs, toy) -> None:
    for announce in (True, False, True, False):
        number = toy.snapshot(announce=announce)
        if not announce:
            store.redis.delete(store.key("snapshot", number))
    jobs.refresh()
    jobs.clean()
    assert snapshots_with_chunks(store.redis) == [1, 3, 4]
    assert not store.redis.keys("*:chunk:2:*")


def test_old_versions_snapshots_and_entries_go_and_the_current_version_stays(store, jobs, toy, config) -> None:
    for _ in range(5):
        toy.put("x", 1)
        toy.flush()
        toy.snapshot()
        jobs.refresh()
    store.rollback(2)
    assert sorted(jobs.clean()) == [1]
    assert store.versions() == [2, 3, 4, 5]
    assert store.snapshots() == [4, 5]
    assert store.load_version(2).manifest.snapshot == 2, "versions keep the head of their snapshot, and its chunks"
    assert snapshots_with_chunks(store.redis) == [2, 3, 4, 5]
    assert {name.split(b":")[-1] for name in store.redis.keys("*:items:*")} == {b"2", b"3", b"4", b"5"}
    patterns = ("version:1", "part:1", "items:1", "expiry:1", "deltas:1", "leaf:1:*")
    assert [name for pattern in patterns for name in store.redis.keys(f"*:{pattern}")] == []
    assert store.redis.xlen(store.key("snapshots")) == 2
    store.rollback(5)
    jobs.clean()
    assert store.versions() == [3, 4, 5]
    assert config.versions_kept == 3


@pytest.mark.slow
def test_trimmed_streams_keep_what_a_kept_version_needs(store, jobs, toy, leader, follow) -> None:
    for _ in range(300):
        toy.flush(0)
    for number in range(4):
        toy.put(f"before{number}", 1)
        toy.snapshot()
        jobs.refresh()
        toy.put(f"after{number}", 2)
        toy.flush()
    jobs.clean()
    assert store.redis.xlen(store.key("state")) < 300
    store.rollback(2)
    leader.resume()
    assert store.item_nodes(2) == toy.alive()


def test_what_a_dead_publisher_left_is_removed(store, jobs, toy, leader) -> None:
    toy.snapshot()
    leader._builder.build_draft(1, "dies before the flip")
    jobs.refresh()
    assert store.unpublished_versions() == [1]
    assert jobs.clean() == [1]
    assert store.unpublished_versions() == []
    assert (store.current(), store.load_version(2).manifest.items) == (2, 8)


def test_an_alarm_is_answered_by_a_refresh_and_put_on_record(store, jobs, toy, answers, audit) -> None:
    toy.snapshot()
    jobs.refresh()
    raise_alarm(store, snapshot=toy.snapshot())
    assert answers.handle_all() == 1
    alarm, action, outcome = audit.read()
    assert (alarm.event, alarm.kind, alarm.alarm, alarm.detail["value"]) == ("alarm", "loss_drift", "loss_drift:7", 6.5)
    assert (action.event, action.action) == ("action", "refresh")
    assert (outcome.event, outcome.action, outcome.outcome, outcome.version) == ("outcome", "refresh", "done", 2)
    assert store.manifest(2).reason == "alarm:loss_drift"
    assert outcome.detail["snapshot"] == 2


def test_an_alarm_is_answered_once_even_if_raised_again(store, jobs, toy, answers, audit) -> None:
    raise_alarm(store, snapshot=toy.snapshot())
    assert answers.handle_all() == 1
    assert answers.handle_all() == 0
    raise_alarm(store, snapshot=toy.snapshot())
    assert answers.handle_all() == 0
    again = AlarmHandler(store, AlarmRules({"loss_drift": "refresh"}), audit, jobs.refresh_for)
    assert again.handle_all() == 0
    assert len(audit.read()) == 3
    assert store.versions() == [1]


def test_an_alarm_without_rule_is_noted(store, toy, answers, audit) -> None:
    raise_alarm(store, kind="strange", name="strange:1", snapshot=toy.snapshot())
    assert answers.handle_all() == 1
    outcome = audit.read()[-1]
    assert (outcome.action, outcome.outcome, outcome.version) == ("none", "noted", None)
    assert store.versions() == []


@pytest.mark.slow
def test_a_snapshot_that_never_comes_is_a_failure_on_record(store, toy, answers, audit) -> None:
    toy.snapshot()
    raise_alarm(store, snapshot=9)
    assert answers.handle_all() == 1
    outcome = audit.read()[-1]
    assert outcome.outcome == "failed"
    assert "snapshot 9 did not appear within 2 s" in outcome.detail["error"]


def test_no_snapshot_at_all_is_a_failure_on_record(store, answers, audit) -> None:
    raise_alarm(store)
    assert answers.handle_all() == 1
    assert "not published a snapshot yet" in audit.read()[-1].detail["error"]


def test_an_answer_cut_short_is_given_again(store, toy, answers, audit, jobs, monkeypatch) -> None:
    raise_alarm(store, snapshot=toy.snapshot())
    monkeypatch.setattr(jobs._leader, "publish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answers.handle_all()
    monkeypatch.undo()
    assert answers.handle_all() == 1
    assert audit.read()[-1].outcome == "done"


def test_an_entry_that_is_no_alarm_is_passed_over(store, toy, answers, audit) -> None:
    store.redis.xadd(store.key("alarms"), {"d": b"{"})
    raise_alarm(store, snapshot=toy.snapshot())
    assert answers.handle_all() == 1


def test_verify_puts_damage_on_record(store, jobs, toy, audit) -> None:
    assert jobs.verify() is None
    toy.snapshot()
    jobs.refresh()
    assert jobs.verify().clean
    assert audit.read() == []
    store.redis.hset(store.key("items", 1), "ghost", "2:0")
    assert not jobs.verify().clean
    entry = audit.read()[-1]
    assert (entry.event, entry.outcome, entry.version) == ("verify", "failed", 1)
    assert entry.detail["counts"] == dict.fromkeys(KINDS, 0) | {"extra": 1}


def test_verify_gives_the_leader_time_and_then_puts_a_forgotten_expiry_on_record(jobs, leader, toy, audit) -> None:
    toy.snapshot()
    jobs.refresh()
    toy.delete("i1")
    jobs.stop()  # it would wait two sweeps
    assert jobs.verify().stale == ["i1"], "nobody follows the streams here"
    assert audit.read()[-1].detail["counts"]["stale"] == 1


def test_verify_says_nothing_of_a_version_that_is_removed_meanwhile(
    store, jobs, leader, toy, audit, monkeypatch
) -> None:
    toy.snapshot()
    jobs.refresh()
    toy.delete("i1")
    jobs.stop()

    def replace() -> list:
        leader.publish(toy.snapshot(), "test")
        store.drop_version(1)
        return []

    monkeypatch.setattr(leader, "reconcile", replace)
    assert jobs.verify() is None
    assert audit.read() == []


def test_an_alarm_while_publishing_is_held_is_on_record_as_held(store, jobs, toy, answers, audit) -> None:
    toy.snapshot()
    jobs.refresh()
    operations.hold_publishing(store.redis, "wait")
    raise_alarm(store, snapshot=toy.snapshot())
    assert answers.handle_all() == 1
    assert (audit.read()[-1].outcome, store.current()) == ("held", 1)


def test_a_job_whose_time_is_over_stops_where_nothing_is_half_written(store, jobs, toy, leader, monkeypatch) -> None:
    toy.snapshot()
    jobs.refresh()
    toy.snapshot()
    before = store.item_nodes(1), store.last_delta_id(1)
    with deadline(0.0), pytest.raises(JobTimeoutError, match=r"encoded, after its limit of 0 s"):
        jobs.refresh()
    assert store.unpublished_versions() == []
    write, calls = VersionDraft._write, []

    def slowly(draft, deltas):
        write(draft, deltas)
        calls.append(1)

    # the last write before the flip takes a minute
    clock = SimpleNamespace(monotonic=lambda: 60.0 * (len(calls) >= 2))
    monkeypatch.setattr("hsnn.indexer.job_context.time", clock)
    monkeypatch.setattr(VersionDraft, "_write", slowly)
    with deadline(30.0), pytest.raises(JobTimeoutError, match="before the flip"):
        jobs.refresh()
    assert (store.current(), store.item_nodes(1), store.last_delta_id(1)) == (1, *before)
    monkeypatch.undo()
    assert jobs.clean() == [2], "what was written aside goes"
    assert jobs.refresh().version == store.current() == 3


def test_alarms_and_removals_stop_between_two(store, jobs, toy, answers) -> None:
    toy.snapshot()
    for number in range(3):
        raise_alarm(store, kind="strange", name=f"strange:{number}")
    with deadline(0.0), pytest.raises(JobTimeoutError, match="between two alarms"):
        answers.handle_all()
    assert answers.handle_all() == 2, "the first is answered and noted"
    for _ in range(4):
        toy.snapshot()
        jobs.refresh()
    with deadline(0.0), pytest.raises(JobTimeoutError, match="between two removals"):
        jobs.clean()
    assert store.versions() == [1, 2, 3, 4]
    with deadline(0.0), pytest.raises(JobTimeoutError, match="before deltas are written"):
        jobs.reconcile()


def test_a_snapshot_removed_before_its_turn_is_named(jobs, leader, store, toy) -> None:
    toy.snapshot()
    with pytest.raises(SnapshotNotFoundError, match="snapshot 7"):
        leader.publish(7, "test")
