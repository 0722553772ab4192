import pytest

from hsnn.indexer.assign.catalogue_sync import catch_up
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader


def test_what_was_planned_and_not_written_is_planned_again(store, toy, monkeypatch):
    leader = Leader(store, Builder(store))
    leader.publish(toy.snapshot(), "test")
    live, catalogue = leader.live, leader.catalogue
    assert live.pending_deltas(catalogue) == []
    toy.put("a", 1)
    toy.delete("i5")
    toy.put("i3", 0)
    catch_up(catalogue, store)
    with monkeypatch.context() as patch:
        patch.setattr(live.assigner, "assign", _too_late)
        with pytest.raises(TimeoutError):
            live.pending_deltas(catalogue)
    assert [delta.op for delta in live.pending_deltas(catalogue, lambda op, rows: rows < 0)] == ["move"]
    planned = live.pending_deltas(catalogue)
    assert [(delta.op, delta.item) for delta in planned] == [("delete", "i5"), ("insert", "a"), ("move", "i3")]
    assert live.pending_deltas(catalogue) == planned
    assert leader.reconcile() == planned
    assert live.pending_deltas(catalogue) == []


def _too_late(rows, tokens):
    raise TimeoutError
