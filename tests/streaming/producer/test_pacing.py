from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.producer.pacing import KeyedEvent, Pacer, paced_groups, parse_speed
from hsnn.streaming.schema.events import Item


class Clock:
    """A clock that advances in `sleep` only."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def events(*times: int) -> list[KeyedEvent]:
    return [("items", b"x", Item(id=str(row), ts=time)) for row, time in enumerate(times)]


def never() -> bool:
    return False


@pytest.mark.parametrize("speed", ["fast", "0x", "-1", "60xx", "", 0])
def test_invalid_speed_is_an_error(speed: str | float) -> None:
    with pytest.raises(ValueError, match="not a replay speed"):
        parse_speed(speed)


def test_max_never_waits() -> None:
    clock = Clock()
    groups = list(paced_groups(events(0, 10**9, 10**12), Pacer(None, clock), 2, never, clock.sleep))
    assert [len(group) for group in groups] == [2, 1]
    assert clock.now == 100.0


def test_gaps_are_divided_by_the_factor() -> None:
    clock = Clock()
    sent = []
    for group in paced_groups(events(5_000, 65_000, 3_665_000), Pacer(60.0, clock), 10, never, clock.sleep):
        sent += [(event.id, clock.now - 100.0) for _, _, event in group]
    assert [name for name, _ in sent] == ["0", "1", "2"]
    assert [at for _, at in sent] == pytest.approx([0.0, 1.0, 61.0], abs=0.006)


@given(st.lists(st.integers(0, 2000), max_size=30), st.integers(1, 5), st.sampled_from([0.5, 1.0, 60.0]))
def test_every_event_once_in_order_never_early(times: list[int], size: int, factor: float) -> None:
    clock, entries, seen = Clock(), events(*sorted(times)), []
    for group in paced_groups(entries, Pacer(factor, clock), size, never, clock.sleep):
        assert 1 <= len(group) <= size
        for entry in group:
            seen.append(entry)
            wanted = (entry[2].ts - entries[0][2].ts) / 1000 / factor
            assert -1e-9 <= clock.now - 100.0 - wanted <= 0.006
    assert seen == entries


def test_stop_ends_a_wait() -> None:
    clock = Clock()
    groups = paced_groups(events(0, 3_600_000), Pacer(1.0, clock), 10, lambda: clock.now > 102.0, clock.sleep)
    assert [len(group) for group in groups] == [1]
    assert clock.now < 102.2
