"""Duplicates by event id, against a plain list of what went by."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.consumer import dedup as module
from hsnn.streaming.consumer.dedup import SeenIds

EVENTS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("uv"), st.integers(0, 4)), max_size=60)
CUTS = st.lists(st.integers(0, 60), max_size=6)


def plain(events: list[tuple[str, str, int]], window: int, most: int) -> list[bool]:
    """Look back through all accepted events, one by one."""
    accepted: list[tuple[str, str, int]] = []
    found = []
    for name, user, mark in events:
        back = next((at for at in range(len(accepted))[::-1] if accepted[at][0] == name), None)
        known = back is not None and len(accepted) - back <= most
        double = known and accepted[back][1] == user and mark - accepted[back][2] <= window  # type: ignore[index]
        found.append(bool(double))
        if not double:
            accepted.append((name, user, mark))
    return found


def marked(seen: SeenIds, events: list[tuple[str, str, int]]) -> list[bool]:
    if not events:
        return []
    ids, users, marks = zip(*events, strict=True)
    found = seen.duplicates(list(ids), list(users), np.array(marks, np.int64))
    return [False] * len(events) if found is None else found.tolist()


def timed(events: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    marks = np.cumsum([gap for _, _, gap in events]).tolist()
    return [(name, user, mark) for (name, user, _), mark in zip(events, marks, strict=True)]


@pytest.fixture(params=[1_000_000, 3])
def most(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "MAX_IDS", request.param)
    monkeypatch.setattr(module, "_REBUILD_SLACK", 0)
    return int(request.param)


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_it_finds_what_a_plain_list_finds(most: int, window: int) -> None:
    @given(EVENTS, CUTS, CUTS)
    def check(gaps: list[tuple[str, str, int]], cuts: list[int], deliveries: list[int]) -> None:
        events = timed(gaps)
        seen, found, edges = SeenIds(window), [], sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
        delivered = 0
        for start, stop in itertools.pairwise(edges):
            found += marked(seen, events[start:stop])
            if deliveries and deliveries[start % len(deliveries)] % 2:  # the rest waits a while
                seen.deliver(found.count(False) - delivered, events[stop - 1][2])
                delivered = found.count(False)
        assert found == plain(events, window, most)

    check()


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_a_restart_knows_what_was_delivered_and_nothing_else(most: int, window: int) -> None:
    @given(EVENTS, st.integers(0, 60), st.integers(0, 60))
    def check(gaps: list[tuple[str, str, int]], one: int, other: int) -> None:
        events = timed(gaps)
        delivered, ahead = sorted((min(one, len(events)), min(other, len(events))))
        whole = plain(events, window, most)
        first, second = SeenIds(window), SeenIds(window)
        marked(first, events[:delivered])
        marked(first, events[delivered:ahead])
        mark = events[delivered - 1][2] if delivered else 0
        first.deliver(whole[:delivered].count(False), mark)
        state = first.capture_state(mark)()
        second.load_state_dict(msgspec.json.decode(msgspec.json.encode(state)))
        assert second.capture_state(mark)() == state
        assert marked(second, events[delivered:]) == whole[delivered:]

    check()


def test_little_is_kept_of_a_long_stream() -> None:
    seen = SeenIds(10)
    for start in range(0, 200_000, 1000):
        marks = np.arange(start, start + 1000)
        assert seen.duplicates([f"e{n}" for n in marks], ["u"] * 1000, marks) is None
        seen.deliver(1000, int(marks[-1]))
    assert len(seen._chunk_of) < 8000
    assert len(seen._chunks) == 1
    assert len(seen.capture_state(199_999)()[0]) == 11
