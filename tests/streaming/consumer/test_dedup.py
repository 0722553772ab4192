"""Deduplication by what makes two events the same, against a plain list of the events before."""

from __future__ import annotations

import itertools
import tracemalloc

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.consumer import dedup as module
from hsnn.streaming.consumer.dedup import SeenEvents

EVENTS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("uv"), st.integers(0, 4)), max_size=60)
CUTS = st.lists(st.integers(0, 60), max_size=6)


def plain(events: list[tuple[str, str, int]], window: int, max_ids: int) -> list[bool]:
    """Look back through all accepted events, one by one."""
    accepted: list[tuple[str, str, int]] = []
    found = []
    for name, user, watermark in events:
        back = next((at for at in range(len(accepted))[::-1] if accepted[at][:2] == (name, user)), None)
        known = back is not None and len(accepted) - back <= max_ids
        duplicate = known and watermark - accepted[back][2] <= window  # type: ignore[index]
        found.append(bool(duplicate))
        if not duplicate:
            accepted.append((name, user, watermark))
    return found


def marked(seen: SeenEvents, events: list[tuple[str, str, int]]) -> list[bool]:
    if not events:
        return []
    ids, users, watermarks = zip(*events, strict=True)
    found = seen.duplicates([f"{name}-{user}" for name, user in zip(ids, users, strict=True)], np.array(watermarks))
    return [False] * len(events) if found is None else found.tolist()


def timed(events: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    watermarks = np.cumsum([gap for _, _, gap in events]).tolist()
    return [(name, user, watermark) for (name, user, _), watermark in zip(events, watermarks, strict=True)]


@pytest.fixture(params=[1_000_000, 3])
def max_ids(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "MAX_KEYS", request.param)
    monkeypatch.setattr(module, "_REBUILD_SLACK", 0)
    return int(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 7, 1000])
def test_it_finds_what_a_plain_list_finds(max_ids: int, window: int) -> None:
    @given(EVENTS, CUTS, CUTS)
    def check(gaps: list[tuple[str, str, int]], cuts: list[int], deliveries: list[int]) -> None:
        events = timed(gaps)
        seen, found, edges = (
            SeenEvents(window),
            [],
            sorted({0, len(events), *(cut for cut in cuts if cut < len(events))}),
        )
        delivered = 0
        for start, stop in itertools.pairwise(edges):
            found += marked(seen, events[start:stop])
            if deliveries and deliveries[start % len(deliveries)] % 2:  # the rest waits a while
                seen.deliver(found.count(False) - delivered, events[stop - 1][2])
                delivered = found.count(False)
        assert found == plain(events, window, max_ids)

    check()


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_a_restart_knows_what_was_delivered_and_nothing_else(max_ids: int, window: int) -> None:
    @given(EVENTS, st.integers(0, 60), st.integers(0, 60))
    def check(gaps: list[tuple[str, str, int]], first_cut: int, second_cut: int) -> None:
        events = timed(gaps)
        delivered, ahead = sorted((min(first_cut, len(events)), min(second_cut, len(events))))
        whole = plain(events, window, max_ids)
        first, second = SeenEvents(window), SeenEvents(window)
        marked(first, events[:delivered])
        marked(first, events[delivered:ahead])
        watermark = events[delivered - 1][2] if delivered else 0
        first.deliver(whole[:delivered].count(False), watermark)
        state = first.deferred_state(watermark)()
        second.load_state(msgspec.json.decode(msgspec.json.encode(state)))
        assert second.deferred_state(watermark)() == state
        assert marked(second, events[delivered:]) == whole[delivered:]

    check()


@pytest.mark.slow
def test_memory_is_bounded_over_a_long_stream() -> None:
    seen = SeenEvents(10)
    for start in range(0, 200_000, 1000):
        watermarks = np.arange(start, start + 1000)
        assert seen.duplicates([f"e{n}" for n in watermarks], watermarks) is None
        seen.deliver(1000, int(watermarks[-1]))
    assert len(seen._chunk_of) < 8000
    assert len(seen._chunks) == 1
    assert len(seen.deferred_state(199_999)()[0]) == 11


@pytest.mark.slow
def test_the_memory_that_is_reported_is_about_that_which_is_taken() -> None:
    seen = SeenEvents(1000)
    assert (len(seen), seen.nbytes) == (0, 0)
    tracemalloc.start()
    try:
        for start in range(0, 100_000, 500):
            keys = [f"event-{number}\x1fuser\x1fitem\x1fclick" for number in range(start, start + 500)]
            seen.duplicates(keys, np.full(500, start))
        del keys
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(seen) == 100_000
    assert 0.6 * taken < seen.nbytes < 1.6 * taken
    seen.deliver(100_000, 10_000_000)
    assert (len(seen), seen.nbytes) == (0, 0)
