"""Who has a row: against a plain reference that does one thing after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prometheus_client import REGISTRY

from hsnn.trainer.config.ids import IdLimits
from hsnn.trainer.ids.admission import IdAdmission
from hsnn.trainer.rowstore.id_table import IdTable

NAMES = st.lists(st.sampled_from([f"n{number}" for number in range(30)]), max_size=12)


class Reference:
    """The rules in words that a dict understands; `kept` rows are in use whether they are seen or not."""

    def __init__(self, limits: IdLimits, room: int, kept: set[int]) -> None:
        self.limits, self.room, self.kept = limits, room, kept
        self.rows, self.seen, self.counts = {}, {}, {}
        self.free, self.left = [], []
        self.size = self.now = self.scanned = 0
        self.reserve = max((limits.cap or 0) // 16, 1)

    def begin(self, now: int) -> None:
        self.now, self.named = max(self.now, now), set()
        if self.limits.expire_after is None:
            return
        patience = int(self.limits.expire_after * 1000)
        if self.now - self.scanned >= patience // 16:
            self.scanned = self.now
            due = [name for name in self.rows if self.seen[name] <= self.now - patience]
            due = sorted((name for name in due if self.rows[name] not in self.kept), key=self.age)
            self.take_back(due[: self.spare()])

    def age(self, name: str) -> tuple[int, int]:
        return self.seen[name], self.rows[name]

    def spare(self) -> int:
        return max(len(self.rows) - self.limits.floor, 0)

    def take_back(self, names: list[str]) -> None:
        for name in sorted(names, key=self.rows.__getitem__):
            self.left.append(self.rows.pop(name))
            del self.seen[name]

    def available(self) -> int:
        return 10**9 if self.limits.cap is None else len(self.free) + max(self.limits.cap - self.size, 0)

    def make_room(self, newcomers: int) -> None:
        ready = self.available() + len(self.left)
        if newcomers and self.limits.cap is not None and ready < max(newcomers, self.reserve // 2 + 1):
            others = [name for name in self.rows if name not in self.named]
            dead = sorted((name for name in others if self.rows[name] not in self.kept), key=self.age)
            living = sorted((name for name in others if self.rows[name] in self.kept), key=self.age)
            count = min(max(newcomers, self.reserve) - ready, self.spare())
            chosen = dead[:count]
            self.take_back(chosen)
            self.take_back(living[: count - len(chosen)])

    def find(self, names: list[str], described: bool) -> list[int]:
        found = [self.rows.get(name, -1) for name in names]
        for name in names:
            if name in self.rows:
                self.named.add(name)
                self.seen[name] = self.now
        ripe = [False] * len(names)
        for at, name in enumerate(names):
            if name not in self.rows:
                self.counts[name] = self.counts.pop(name, 0) + 1
                ripe[at] = described or self.counts[name] >= self.limits.admit_after
                if len(self.counts) > self.room:
                    del self.counts[next(iter(self.counts))]
        newcomers = list(dict.fromkeys(name for name, yes in zip(names, ripe, strict=True) if yes))
        self.make_room(len(newcomers))
        for name in newcomers[: self.available()]:
            if self.free:
                row = self.free.pop(0)
            else:
                row, self.size = self.size, self.size + 1
            self.rows[name], self.seen[name] = row, self.now
            self.named.add(name)
            self.counts.pop(name, None)
        return [self.rows.get(name, -1) if yes else row for name, yes, row in zip(names, ripe, found, strict=True)]

    def release(self) -> list[int]:
        rows, self.left = self.left, []
        self.free += rows
        return rows


class AgainstAReference(RuleBasedStateMachine):
    @initialize(
        cap=st.none() | st.integers(1, 40),
        floor=st.integers(0, 12),
        admit=st.integers(1, 3),
        expire=st.none() | st.integers(1, 20),
        room=st.integers(1, 8),
    )
    def begin_with(self, cap, floor, admit, expire, room):
        floor = floor if cap is None else min(floor, cap)
        limits = IdLimits(cap=cap, floor=floor, admit_after=admit, expire_after=expire)
        self.limits, self.room = limits, room
        self.kept, self.gone = set(), []
        self.plain = Reference(limits, room, self.kept)
        self.admission = self.made()
        self.begin(1)

    def made(self):
        def alive(rows):
            return np.array([row in self.kept for row in rows.tolist()], bool)

        return IdAdmission(
            "test", IdTable(), self.limits, self.room, lambda rows: self.gone.extend(rows.tolist()), alive
        )

    @rule(seconds=st.integers(1, 15))
    def begin(self, seconds):
        now = self.plain.now + 1000 * seconds
        self.plain.begin(now)
        self.admission.begin(now)

    @rule(names=NAMES, described=st.booleans())
    def find(self, names, described):
        expected = self.plain.find(names, described)
        found = self.admission.rows(names, described=described)
        assert found.rows.tolist() == expected
        assert set(found.given.tolist()) <= set(expected)

    @rule()
    def release(self):
        assert self.admission.release().tolist() == self.plain.release()

    @rule(row=st.integers(0, 20))
    def keep(self, row):
        self.kept ^= {row}

    @rule()
    def restart(self):
        table, state = self.admission.table.state_dict(), self.admission.state_dict()
        seen = self.admission.seen[: len(self.admission.table)]
        named = self.admission._named
        self.admission = self.made()
        vacant = np.r_[state["left"], state["free"]]
        self.admission.table.load_state_dict(table, vacant)
        self.admission.load_columns({"seen": seen})
        self.admission.load_state_dict(state)
        self.admission._named = named  # a restart is between two batches; here it may be within one

    @invariant()
    def same(self):
        plain, admission = self.plain, self.admission
        assert (admission.free, admission.left) == (plain.free, plain.left)
        assert (admission.table.id_count, len(admission.table)) == (len(plain.rows), plain.size)
        assert admission.table.find([*plain.rows]).tolist() == [*plain.rows.values()]
        rows = {*plain.rows.values()}
        assert len(rows) == len(plain.rows), "two ids share a row"
        assert sorted([*rows, *plain.free, *plain.left]) == list(range(plain.size)), "a row was lost"
        assert self.limits.cap is None or plain.size <= self.limits.cap
        assert {*plain.left} <= {*self.gone}, "nobody was told"


TestAgainstAReference = AgainstAReference.TestCase
TestAgainstAReference.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestAgainstAReference.pytestmark = [pytest.mark.slow]


def refused() -> float:
    return REGISTRY.get_sample_value("hsnn_ids_total", {"table": "test", "outcome": "refused"}) or 0.0


@pytest.fixture
def new_tenancy():
    """``new_tenancy(**limits)``: rows that are left may be used at once, as those of users."""

    def make(**limits):
        admission = IdAdmission("test", IdTable(), IdLimits(**limits), 100, lambda rows: admission.release())
        admission.begin(0)
        return admission

    return make


def test_an_id_has_a_row_from_the_sighting_on_that_admits_it(new_tenancy):
    admission = new_tenancy(admit_after=3)
    assert admission.rows(["a", "b", "a"]).rows.tolist() == [-1, -1, -1]
    assert admission.rows(["b", "a", "a"]).rows.tolist() == [-1, 0, 0]
    assert admission.rows(["c"], described=True).rows.tolist() == [1]


def test_at_the_cap_the_longest_unseen_makes_room_and_comes_back_as_a_newcomer(new_tenancy):
    admission = new_tenancy(cap=3)
    for now, name in enumerate("abca"):
        admission.begin(now)
        admission.rows([name])
    admission.begin(9)
    assert admission.rows(["d"]).rows.tolist() == [1]
    assert admission.rows(["b"]).rows.tolist() == [2]
    assert admission.table.find(["a", "b", "c", "d"]).tolist() == [0, 2, -1, 1]


def test_nobody_leaves_below_the_floor_and_newcomers_are_refused_and_counted(new_tenancy):
    admission = new_tenancy(cap=2, floor=2, expire_after=1.0)
    admission.rows(["a", "b"])
    before = refused()
    admission.begin(10**6)
    assert admission.rows(["c", "d", "a"]).rows.tolist() == [-1, -1, 0]
    assert refused() == before + 2


def test_a_batch_does_not_take_the_rows_that_it_names(new_tenancy):
    admission = new_tenancy(cap=2)
    assert admission.rows(["a", "b"]).rows.tolist() == [0, 1]
    assert admission.rows(["c"]).rows.tolist() == [-1]
    admission.begin(1)
    admission.rows(["b"])
    assert admission.rows(["c"]).rows.tolist() == [0]


def test_expiry_goes_by_event_time_oldest_first_and_stops_at_the_floor(new_tenancy):
    admission = new_tenancy(expire_after=10.0, floor=1)
    for now, name in ((0, "a"), (1000, "b"), (9000, "c")):
        admission.begin(now)
        admission.rows([name])
    admission.begin(10_999)
    assert admission.table.find(["a", "b", "c"]).tolist() == [-1, 1, 2]
    admission.begin(10**9)
    assert admission.table.find(["a", "b", "c"]).tolist() == [-1, -1, 2]


def test_a_floor_above_the_cap_is_refused():
    with pytest.raises(ValueError, match="floor = 3 is above cap = 2"):
        IdLimits(cap=2, floor=3)
