"""A flip that hurts is undone once; a harder stream is no reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hsnn.indexer.jobs.flip_watch import FlipWatch
from hsnn.indexer.store.publish_hold import current_hold
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import NotifyConfig
from hsnn.monitoring.notify import Notifier


@pytest.fixture
def watch(store: Any, leader: Any, jobs: Any, toy: Any) -> FlipWatch:
    """Of an index with two versions."""
    for _ in range(2):
        toy.snapshot()
        jobs.refresh()
    return FlipWatch(leader, AuditTrail(store.redis, store.key("audit")), Notifier(NotifyConfig()))


def live(store: Any, **recalls: tuple[int, int, int]) -> None:
    counts = {int(name[1:]): recall for name, recall in recalls.items()}
    store.redis.hset(store.key("progress"), "by_version", msgspec.json.encode(counts))


def test_without_live_queries_nothing_happens(watch: FlipWatch, store: Any) -> None:
    assert watch.check() is None
    live(store, v2=(500, 10, 100))
    assert watch.check() is None, "nothing to compare with"


def test_a_flip_that_hurts_is_undone_once_and_publishing_held(watch: FlipWatch, store: Any) -> None:
    live(store, v1=(500, 150, 80), v2=(200, 12, 30))
    assert watch.check() == 1
    assert store.current() == 1
    assert watch.check() is None
    hold = current_hold(store)
    assert hold is not None
    assert "version 2 finds 6.0% of 200 live queries' items, version 1 found 30.0% of 500" in hold.reason
    (entry,) = AuditTrail(store.redis, store.key("audit")).read()
    assert (entry.event, entry.kind, entry.version, entry.detail["refused"]) == ("rollback", "flip", 1, 2)


def test_a_stream_that_got_harder_for_popularity_too_is_no_reason(watch: FlipWatch, store: Any) -> None:
    live(store, v1=(500, 150, 100), v2=(500, 75, 20))
    assert watch.check() is None
    assert store.current() == 2


def test_a_version_that_finds_as_much_on_the_same_queries_stays(
    watch: FlipWatch, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a busy machine, where servers are behind, or on a stream that got harder for the model alone."""
    compared = []
    monkeypatch.setattr("hsnn.indexer.jobs.flip_watch.finds_less", lambda *both: compared.append(both) or False)
    live(store, v1=(500, 150, 80), v2=(200, 12, 30))
    for _ in range(2):
        assert watch.check() is None
    assert [tuple(version.manifest.version for version in both) for both in compared] == [(2, 1)]
    assert store.current() == 2
    assert current_hold(store) is None
    (entry,) = AuditTrail(store.redis, store.key("audit")).read()
    assert (entry.event, entry.outcome, entry.version) == ("rollback", "not needed", 2)


def test_a_version_with_a_stamp_that_cannot_be_is_undone_though_it_answers_the_same_queries_as_well(
    watch: FlipWatch, store: Any, jobs: Any, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hsnn.indexer.jobs.flip_watch.finds_less", lambda *both: False)
    toy.flush()
    toy.state_id = "99999999999999-0"
    toy.snapshot()
    jobs.refresh()
    live(store, v2=(500, 150, 80), v3=(200, 12, 30))
    assert watch.check() == 2
    hold = current_hold(store)
    assert hold is not None
    assert "continues the stream state after 99999999999999-0" in hold.reason
