"""The joiner against a plain one that keeps lists and looks at everything every time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.errors import StateError
from hsnn.streaming.join.joiner import NOT_ENDED, ImpressionBatch, Joiner, JoinResult, joiner_from_config
from hsnn.streaming.schema.batch import Engagements

TASKS = ("click", "like")


class Act(NamedTuple):
    ts: int
    user: str
    item: str
    action: str
    name: str | None = None


class See(NamedTuple):
    ts: int
    user: str
    items: list[str]
    name: str


class Step(NamedTuple):
    """A batch: its events in order, the watermark after it, and up to when all was sent."""

    acts: list[Act]
    sees: list[See]
    watermark: int
    ended: int = NOT_ENDED


@dataclass
class Row:
    ts: int
    user: str
    item: str
    name: str | None
    group: int = 0
    labels: set[str] = field(default_factory=set)
    judged: bool = False


class Plain:
    """The same contract, without columns, chains or codes."""

    def __init__(self, window: int, capacity: int) -> None:
        self.window, self.capacity = window, capacity
        self.shown: list[Row] = []
        self.actions: list[Row] = []
        self.last: dict[str, Act] = {}
        self.groups, self.ended = 0, NOT_ENDED

    def update(self, step: Step) -> dict[str, Any]:
        self.ended = max(self.ended, step.ended)
        before = self.pending()
        new = [self.see(see) for see in step.sees]
        for action in list(self.actions):
            if any((action.user, action.item) == (row.user, row.item) for rows in new for row in rows):
                self.answer(action)
        late = sum(self.act(act) for act in step.acts)
        judged, early = self.judge(step.watermark)
        self.forget(step.watermark)
        repeat = [self.repeated(act) for act in step.acts]
        self.forget_users(step.watermark)
        return {
            "judged": [
                (r.ts, step.watermark, r.user, r.item, [float(t in r.labels) for t in TASKS], {"of": r.name})
                for r in judged
            ],
            "counts": (before + len(step.sees) - self.pending(), self.pending(), early, late),
            "repeat": repeat,
        }

    def pending(self) -> int:
        return len({row.group for row in self.shown if not row.judged})

    def see(self, see: See) -> list[Row]:
        self.groups += 1
        rows = [Row(see.ts, see.user, item, see.name, self.groups) for item in dict.fromkeys(see.items)]
        self.shown += rows
        return rows

    def find(self, action: Row) -> Row | None:
        rows = [row for row in self.shown if (row.user, row.item) == (action.user, action.item)]
        if action.name is not None:
            rows = [row for row in rows if row.name == action.name]
        else:
            rows = [row for row in rows if row.ts <= action.ts]
        best = max(reversed(rows), key=lambda row: row.ts, default=None)
        near = best is not None and (action.name is not None or action.ts - best.ts <= self.window)
        return best if near else None

    def answer(self, action: Row) -> None:
        if (row := self.find(action)) is not None:
            row.labels |= action.labels
            self.actions.remove(action)

    def act(self, act: Act) -> bool:
        if act.action not in TASKS:
            return False
        action = Row(act.ts, act.user, act.item, act.name, labels={act.action})
        row = self.find(action)
        if row is None:
            self.actions.append(action)
            return False
        row.labels |= action.labels
        return row.judged

    def judge(self, watermark: int) -> tuple[list[Row], int]:
        waiting = [row for row in self.shown if not row.judged]
        due = [row for row in waiting if row.ts + self.window < watermark or row.ts <= self.ended]
        rest = [row for row in waiting if not any(row is one for one in due)]
        early = rest[: max(0, len(rest) - self.capacity)]
        chosen = [row for row in waiting if any(row is one for one in [*due, *early])]
        for row in chosen:
            row.judged = True
        return chosen, len(early)

    def forget(self, watermark: int) -> None:
        judged = [row for row in self.shown if row.judged]
        gone = judged[: max(0, len(judged) - self.capacity)]
        gone += [row for row in judged if row.ts + 2 * self.window < watermark]
        self.shown = [row for row in self.shown if not any(row is one for one in gone)]
        self.actions = self.actions[max(0, len(self.actions) - self.capacity) :]
        self.actions = [row for row in self.actions if row.ts + self.window >= watermark]

    def repeated(self, act: Act) -> bool:
        last = self.last.pop(act.user, None)
        self.last[act.user] = act
        if last is None or last.item != act.item:
            return False
        return abs(act.ts - last.ts) <= self.window or (act.name is not None and act.name == last.name)

    def forget_users(self, watermark: int) -> None:
        while self.last:
            user, act = next(iter(self.last.items()))
            if act.ts >= watermark - self.window and len(self.last) <= self.capacity:
                break
            del self.last[user]


def feed(joiner: Joiner, step: Step) -> JoinResult:
    acts, sees = step.acts, step.sees
    ts = np.array([act.ts for act in acts], np.int64)
    events = Engagements(
        ts,
        ts,
        [a.user for a in acts],
        [a.item for a in acts],
        [a.action for a in acts],
        np.full(len(acts), np.nan, np.float32),
        [None] * len(acts),
    )
    shown = ImpressionBatch(
        np.array([see.ts for see in sees], np.int64),
        [see.user for see in sees],
        [see.name for see in sees],
        [see.items for see in sees],
        [{"of": see.name} for see in sees],
    )
    return joiner.update(events, [act.name for act in acts], shown, step.watermark, step.ended)


def told(joined: JoinResult) -> dict[str, Any]:
    found = joined.labelled_impressions
    rows = zip(
        found.ts.tolist(),
        found.decided_at.tolist(),
        found.user,
        found.item,
        found.labels.tolist(),
        found.context,
        strict=True,
    )
    return {
        "judged": list(rows),
        "counts": (joined.impressions, joined.pending, joined.early, joined.late_actions),
        "repeat": joined.engagements.repeat.tolist(),
    }


USERS, ITEMS, NAMES = st.sampled_from("uv"), st.sampled_from("abc"), st.sampled_from(["s1", "s2", "s3"])
AGO = st.integers(0, 40)
ACTS = st.lists(st.tuples(AGO, USERS, ITEMS, st.sampled_from(["click", "like", "view"]), st.none() | NAMES), max_size=5)
SEES = st.lists(st.tuples(AGO, USERS, st.lists(ITEMS, min_size=1, max_size=4), NAMES), max_size=3)


@st.composite
def streams(draw: st.DrawFn) -> list[Step]:
    """Batches of events up to 40 ms behind a watermark that moves by up to 25 ms; now and then all was sent."""
    steps, watermark = [], 100
    for acts, sees, gap, end in draw(
        st.lists(st.tuples(ACTS, SEES, st.integers(0, 25), st.integers(0, 9)), max_size=12)
    ):
        watermark += gap
        steps.append(
            Step(
                [Act(watermark - ago, *rest) for ago, *rest in acts],
                [See(watermark - ago, *rest) for ago, *rest in sees],
                watermark,
                watermark - 5 if end == 0 else NOT_ENDED,
            )
        )
    return steps


@given(streams(), st.integers(0, 20), st.sampled_from([1, 2, 3, 5, 1000]))
def test_it_does_what_the_plain_one_does(steps: list[Step], window: int, capacity: int) -> None:
    joiner, plain = Joiner(TASKS, window, capacity), Plain(window, capacity)
    for step in steps:
        assert told(feed(joiner, step)) == plain.update(step)
    assert joiner.pending == plain.pending() <= max(capacity, 1)


@given(streams(), st.integers(0, 20), st.sampled_from([1, 3, 1000]), st.integers(0, 12))
def test_a_restart_in_the_middle_changes_nothing(steps: list[Step], window: int, capacity: int, cut: int) -> None:
    joiner, again = Joiner(TASKS, window, capacity), Joiner(TASKS, window, capacity)
    for step in steps[:cut]:
        feed(joiner, step)
    again.load_state_dict(msgspec.json.decode(msgspec.json.encode(joiner.state_dict())))
    assert again.state_dict() == joiner.state_dict()
    for step in steps[cut:]:
        assert told(feed(again, step)) == told(feed(joiner, step))
    assert again.state_dict() == joiner.state_dict()


@given(streams(), st.integers(0, 20), st.sampled_from([1, 3, 1000]))
def test_every_impression_is_judged_once(steps: list[Step], window: int, capacity: int) -> None:
    joiner = Joiner(TASKS, window, capacity)
    found = [feed(joiner, step) for step in steps]
    found.append(feed(joiner, Step([], [], 10_000, ended=10_000)))
    shown = [(see.ts, see.user, item) for step in steps for see in step.sees for item in dict.fromkeys(see.items)]
    judged = [row[:1] + row[2:4] for joined in found for row in told(joined)["judged"]]
    assert sorted(judged) == sorted(shown)
    assert sum(joined.impressions for joined in found) == sum(len(step.sees) for step in steps)
    assert joiner.pending == 0
    assert len(joiner._shown) == len(joiner._actions) == len(joiner._repeats._last) == 0, "nothing is kept for ever"


def test_labels_negatives_and_the_window_end() -> None:
    joiner = Joiner(TASKS, 100, 1000)
    sees = [See(10, "u", ["a", "b"], "s1"), See(20, "v", ["a"], "s2")]
    acts = [Act(15, "u", "a", "click"), Act(110, "u", "a", "like"), Act(50, "u", "a", "view")]
    assert told(feed(joiner, Step(acts, sees, 110)))["judged"] == [], "an action at the window's end is in time"
    assert told(feed(joiner, Step([], [], 111)))["judged"] == [
        (10, 111, "u", "a", [1.0, 1.0], {"of": "s1"}),
        (10, 111, "u", "b", [0.0, 0.0], {"of": "s1"}),
    ]
    late = feed(joiner, Step([Act(105, "u", "b", "click", "s1")], [], 120))
    assert (late.late_actions, late.impressions, late.pending) == (1, 0, 1)


def test_an_action_may_come_before_its_impression() -> None:
    joiner = Joiner(TASKS, 100, 1000)
    feed(joiner, Step([Act(50, "u", "a", "click"), Act(60, "u", "b", "like", "s1")], [], 60))
    feed(joiner, Step([], [See(40, "u", ["a", "b"], "s1")], 90))
    assert [row[4] for row in told(feed(joiner, Step([], [], 200)))["judged"]] == [[1.0, 0.0], [0.0, 1.0]]


def test_the_latest_impression_before_the_action_is_the_one() -> None:
    joiner = Joiner(TASKS, 100, 1000)
    sees = [See(10, "u", ["a"], "s1"), See(30, "u", ["a"], "s2"), See(20, "u", ["a"], "s3")]
    feed(joiner, Step([Act(25, "u", "a", "click"), Act(29, "u", "a", "like", "s2")], sees, 30))
    judged = told(feed(joiner, Step([], [], 500)))["judged"]
    assert {row[5]["of"]: row[4] for row in judged} == {"s1": [0, 0], "s3": [1, 0], "s2": [0, 1]}


def test_a_full_joiner_judges_the_oldest_early_and_loses_none() -> None:
    joiner = Joiner(TASKS, 100, 2)
    joined = feed(joiner, Step([Act(11, "u", "a", "click")], [See(10, "u", ["a", "b", "c"], "s1")], 20))
    assert told(joined)["judged"] == [(10, 20, "u", "a", [1.0, 0.0], {"of": "s1"})]
    assert (joined.early, joined.impressions, joined.pending) == (1, 0, 1), "two of its items wait"
    assert feed(joiner, Step([], [], 200)).impressions == 1


def test_a_repeat_is_more_of_the_same() -> None:
    acts = [
        Act(10, "u", "a", "click"),
        Act(20, "u", "a", "like"),
        Act(30, "v", "a", "click"),
        Act(40, "u", "b", "click"),
        Act(50, "u", "a", "view"),
        Act(151, "u", "a", "view"),
        Act(300, "v", "b", "click", "s"),
        Act(500, "v", "b", "like", "s"),
        Act(501, "v", "b", "like", "t"),
    ]
    found = feed(Joiner(TASKS, 100, 1000), Step(acts, [], 501)).engagements.repeat
    assert np.flatnonzero(found).tolist() == [1, 7, 8]


def test_a_state_of_other_tasks_is_refused() -> None:
    with pytest.raises(StateError, match="set it back"):
        Joiner(("like",), 100, 10).load_state_dict(Joiner(TASKS, 100, 10).state_dict())


def test_without_tasks_there_is_no_joiner() -> None:
    assert joiner_from_config(StreamingConfig()) is None
    with pytest.raises(ValueError, match="named twice"):
        StreamingConfig(tasks=("click", "click"))
