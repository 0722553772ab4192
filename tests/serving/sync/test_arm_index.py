"""When the index of another loop can answer."""

from __future__ import annotations

import logging

import pytest

from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.arm_index import MISSING, STALE, ArmIndex

STALE_AFTER = 600.0


class Pair:
    """The server's own index and another one, with the times up to which their states are known, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.own, self.other = Standing(), Standing()
        self.index = ArmIndex("other", self.own, self.other, stale_after=STALE_AFTER, clock=lambda: self.now)

    def problems(self, minutes: int, *, own_moves: bool, other_moves: bool) -> list[str]:
        """Problems seen minute by minute."""
        seen = []
        for _ in range(minutes):
            self.now += 60
            self.own.at += 60_000 * own_moves
            self.other.at += 60_000 * other_moves
            seen.append(self.index.problem())
        return seen


class Standing(Mirror):
    """A warm mirror of which the watermark alone is known."""

    def __init__(self) -> None:
        super().__init__()
        self.at, self.warm = 1_700_000_000_000, True

    @property
    def watermark(self) -> int:
        return self.at


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_an_index_is_missing_until_it_is_warm(pair, caplog):
    pair.other.warm = False
    with caplog.at_level(logging.INFO):
        assert [pair.index.problem() for _ in range(3)] == [MISSING] * 3
        assert pair.index.detail()["ready"] is False
        pair.other.warm = True
        assert [pair.index.problem() for _ in range(3)] == [""] * 3
    assert pair.index.detail() == {"version": 0, "ready": True}
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in said] == [
        "the index 'other' is missing",
        "the index 'other' answers the users of its arms",
    ]


def test_nothing_is_said_before_the_server_answers(pair, caplog):
    pair.own.warm = pair.other.warm = False
    assert pair.index.problem() == MISSING
    assert not caplog.records


def test_an_index_is_stale_once_it_stood_still_while_the_servers_own_went_on(pair, caplog):
    assert pair.problems(5, own_moves=True, other_moves=True) == [""] * 5
    seen = pair.problems(15, own_moves=True, other_moves=False)
    first = seen.index(STALE)
    assert STALE_AFTER / 60 <= first <= STALE_AFTER / 60 + 2
    assert set(seen[first:]) == {STALE}
    assert len(caplog.records) == 1, "it is said once"
    assert "states stand still" in pair.index.detail()["why"]
    assert pair.problems(3, own_moves=True, other_moves=True) == [""] * 3, "it comes back by itself"


def test_a_slow_loop_is_behind_but_not_stale(pair):
    pair.own.at += 3_600_000
    assert set(pair.problems(60, own_moves=True, other_moves=True)) == {""}


@pytest.mark.parametrize("ahead", [-1, 0, 1])
def test_a_quiet_stream_makes_nothing_stale(pair, ahead):
    pair.other.at += ahead
    assert set(pair.problems(60, own_moves=False, other_moves=False)) == {""}
