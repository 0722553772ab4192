from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.ids.candidate_counter import CandidateCounter

SEEN = st.lists(st.text("abcÜ", min_size=1, max_size=2), max_size=40)


@given(SEEN, st.integers(1, 5))
def test_counts_are_exact_for_the_names_seen_last(seen, room):
    candidates, counts = CandidateCounter(room), {}
    for name in seen:
        count = counts.pop(name, 0) + 1
        counts[name] = count
        if len(counts) > room:
            del counts[next(iter(counts))]
        assert candidates.count(name) == count
        assert len(candidates) == len(counts)


@given(SEEN, SEEN)
def test_restored_ones_go_on_alike(before, after):
    one, other = CandidateCounter(4), CandidateCounter(4)
    for name in before:
        one.count(name)
    other.load_state_dict(one.state_dict())
    assert [one.count(name) for name in after] == [other.count(name) for name in after]


def test_a_dropped_name_begins_again():
    candidates = CandidateCounter(4)
    candidates.count("a")
    candidates.drop("a")
    candidates.drop("b")
    assert candidates.count("a") == 1
