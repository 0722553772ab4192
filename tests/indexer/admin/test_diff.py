import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.indexer.admin.diff import diff_item_maps, diff_versions
from hsnn.indexer.errors import VersionNotFoundError

MAPS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3))


@given(MAPS, MAPS)
def test_going_there_undoes_going_back_and_every_item_is_accounted_for(before, after) -> None:
    there, back = diff_item_maps(before, after), diff_item_maps(after, before)
    assert (there.only_before, there.only_after) == (back.only_after, back.only_before)
    assert {item: (new, old) for item, (old, new) in there.moved.items()} == back.moved
    assert there.common + len(there.only_before) == len(before)
    assert all(change.before + change.came - change.went == change.after for change in there.nodes)
    touched = [change.came + change.went for change in there.nodes]
    assert touched == sorted(touched, reverse=True)
    assert min(touched, default=1) > 0
    assert sum(touched) == len(there.only_before) + len(there.only_after) + 2 * len(there.moved)
    assert 0 <= there.share_moved <= 1


def test_versions_are_compared_with_their_deltas(leader, store, toy, follow) -> None:
    leader.publish(toy.snapshot(), "test")
    toy.put("new", 1)
    toy.delete("i0")
    toy.put("i1", 3)
    leader.publish(toy.snapshot(), "test")
    toy.put("newer", 2)
    follow(leader)
    found = diff_versions(store, 1, 2)
    assert (found.only_before, found.only_after, found.moved, found.common) == (
        ["i0"],
        ["new", "newer"],
        {"i1": (1, 3)},
        7,
    )
    assert found.share_moved == 1 / 7
    assert found.nodes[0][:1] == (1,), "one came, one went"
    with pytest.raises(VersionNotFoundError):
        diff_versions(store, 1, 9)
