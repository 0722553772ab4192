"""The joiner against a reference that keeps lists and searches all of them every time."""

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


class Action(NamedTuple):
    ts: int
    user: str
    item: str
    action: str
    name: str | None = None


class Shown(NamedTuple):
    ts: int
    user: str
    items: list[str]
    name: str


class Step(NamedTuple):
    """A batch: its events in order, the watermark after it, and up to when all was sent."""

    actions: list[Action]
    shown: list[Shown]
    watermark: int
    ended: int = NOT_ENDED


@dataclass
class Row:
    ts: int
    user: str
    item: str
    name: str | None
    impression: int = 0
    labels: set[str] = field(default_factory=set)
    labelled: bool = False


class ReferenceJoiner:
    """The same contract, without columns, chains or codes."""

    def __init__(self, window: int, capacity: int) -> None:
        self.window, self.capacity = window, capacity
        self.shown: list[Row] = []
        self.actions: list[Row] = []
        self.last: dict[str, Action] = {}
        self.impressions, self.ended = 0, NOT_ENDED

    def update(self, step: Step) -> dict[str, Any]:
        self.ended = max(self.ended, step.ended)
        before = self.pending()
        new = [self.add_impression(shown) for shown in step.shown]
        for action in list(self.actions):
            if any((action.user, action.item) == (row.user, row.item) for rows in new for row in rows):
                self.try_to_join(action)
        late = sum(self.join(action) for action in step.actions)
        labelled, early = self.label_due(step.watermark)
        self.forget_old(step.watermark)
        repeat = [self.is_repeat(action) for action in step.actions]
        self.forget_users(step.watermark)
        return {
            "labelled": [
                (r.ts, step.watermark, r.user, r.item, [float(t in r.labels) for t in TASKS], {"of": r.name})
                for r in labelled
            ],
            "counts": (before + len(step.shown) - self.pending(), self.pending(), early, late),
            "repeat": repeat,
        }

    def sizes(self) -> tuple[int, int]:
        return sum(not row.labelled for row in self.shown), len(self.actions)

    def pending(self) -> int:
        return len({row.impression for row in self.shown if not row.labelled})

    def add_impression(self, shown: Shown) -> list[Row]:
        self.impressions += 1
        rows = [Row(shown.ts, shown.user, item, shown.name, self.impressions) for item in dict.fromkeys(shown.items)]
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

    def try_to_join(self, action: Row) -> None:
        if (row := self.find(action)) is not None:
            row.labels |= action.labels
            self.actions.remove(action)

    def join(self, event: Action) -> bool:
        if event.action not in TASKS:
            return False
        action = Row(event.ts, event.user, event.item, event.name, labels={event.action})
        row = self.find(action)
        if row is None:
            self.actions.append(action)
            return False
        row.labels |= action.labels
        return row.labelled

    def label_due(self, watermark: int) -> tuple[list[Row], int]:
        waiting = [row for row in self.shown if not row.labelled]
        due = [row for row in waiting if row.ts + self.window < watermark or row.ts <= self.ended]
        rest = [row for row in waiting if not any(row is one for one in due)]
        early = rest[: max(0, len(rest) - self.capacity)]
        chosen = [row for row in waiting if any(row is one for one in [*due, *early])]
        for row in chosen:
            row.labelled = True
        return chosen, len(early)

    def forget_old(self, watermark: int) -> None:
        labelled = [row for row in self.shown if row.labelled]
        gone = labelled[: max(0, len(labelled) - self.capacity)]
        gone += [row for row in labelled if row.ts + 2 * self.window < watermark]
        self.shown = [row for row in self.shown if not any(row is one for one in gone)]
        self.actions = self.actions[max(0, len(self.actions) - self.capacity) :]
        self.actions = [row for row in self.actions if row.ts + self.window >= watermark]

    def is_repeat(self, action: Action) -> bool:
        last = self.last.pop(action.user, None)
        self.last[action.user] = action
        if last is None or last.item != action.item:
            return False
        return abs(action.ts - last.ts) <= self.window or (action.name is not None and action.name == last.name)

    def forget_users(self, watermark: int) -> None:
        while self.last:
            user, action = next(iter(self.last.items()))
            if action.ts >= watermark - self.window and len(self.last) <= self.capacity:
                break
            del self.last[user]


def update(joiner: Joiner, step: Step) -> JoinResult:
    actions, impressions = step.actions, step.shown
    ts = np.array([action.ts for action in actions], np.int64)
    events = Engagements(
        ts,
        ts,
        [a.user for a in actions],
        [a.item for a in actions],
        [a.action for a in actions],
        np.full(len(actions), np.nan, np.float32),
        [None] * len(actions),
    )
    shown = ImpressionBatch(
        np.array([impression.ts for impression in impressions], np.int64),
        [impression.user for impression in impressions],
        [impression.name for impression in impressions],
        [impression.items for impression in impressions],
        [{"of": impression.name} for impression in impressions],
    )
    return joiner.update(events, [action.name for action in actions], shown, step.watermark, step.ended)


def outcome(joined: JoinResult) -> dict[str, Any]:
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
        "labelled": list(rows),
        "counts": (joined.impressions, joined.pending, joined.early, joined.late_actions),
        "repeat": joined.engagements.repeat.tolist(),
    }


USERS, ITEMS, NAMES = st.sampled_from("uv"), st.sampled_from("abc"), st.sampled_from(["s1", "s2", "s3"])
AGO = st.integers(0, 40)
ACTIONS = st.lists(
    st.tuples(AGO, USERS, ITEMS, st.sampled_from(["click", "like", "view"]), st.none() | NAMES), max_size=5
)
IMPRESSIONS = st.lists(st.tuples(AGO, USERS, st.lists(ITEMS, min_size=1, max_size=4), NAMES), max_size=3)


@st.composite
def streams(draw: st.DrawFn) -> list[Step]:
    """Batches of events up to 40 ms behind a watermark that moves by up to 25 ms; now and then all was sent."""
    steps, watermark = [], 100
    for actions, impressions, gap, end in draw(
        st.lists(st.tuples(ACTIONS, IMPRESSIONS, st.integers(0, 25), st.integers(0, 9)), max_size=12)
    ):
        watermark += gap
        steps.append(
            Step(
                [Action(watermark - ago, *rest) for ago, *rest in actions],
                [Shown(watermark - ago, *rest) for ago, *rest in impressions],
                watermark,
                watermark - 5 if end == 0 else NOT_ENDED,
            )
        )
    return steps


@pytest.mark.slow
@given(streams(), st.integers(0, 20), st.sampled_from([1, 2, 3, 5, 1000]))
def test_it_does_what_the_plain_one_does(steps: list[Step], window: int, capacity: int) -> None:
    joiner, reference = Joiner(TASKS, window, capacity), ReferenceJoiner(window, capacity)
    for step in steps:
        assert outcome(update(joiner, step)) == reference.update(step)
    assert joiner.pending == reference.pending() <= max(capacity, 1)
    assert (joiner.waiting_items, joiner.waiting_actions) == reference.sizes()


@pytest.mark.slow
@given(streams(), st.integers(0, 20), st.sampled_from([1, 3, 1000]), st.integers(0, 12))
def test_a_restart_in_the_middle_changes_nothing(steps: list[Step], window: int, capacity: int, cut: int) -> None:
    joiner, again = Joiner(TASKS, window, capacity), Joiner(TASKS, window, capacity)
    for step in steps[:cut]:
        update(joiner, step)
    again.load_state_dict(msgspec.json.decode(msgspec.json.encode(joiner.state_dict())))
    assert again.state_dict() == joiner.state_dict()
    for step in steps[cut:]:
        assert outcome(update(again, step)) == outcome(update(joiner, step))
    assert again.state_dict() == joiner.state_dict()


@pytest.mark.slow
@given(streams(), st.integers(0, 20), st.sampled_from([1, 3, 1000]))
def test_every_impression_is_labelled_once(steps: list[Step], window: int, capacity: int) -> None:
    joiner = Joiner(TASKS, window, capacity)
    found = [update(joiner, step) for step in steps]
    found.append(update(joiner, Step([], [], 10_000, ended=10_000)))
    shown = [
        (impression.ts, impression.user, item)
        for step in steps
        for impression in step.shown
        for item in dict.fromkeys(impression.items)
    ]
    labelled = [row[:1] + row[2:4] for joined in found for row in outcome(joined)["labelled"]]
    assert sorted(labelled) == sorted(shown)
    assert sum(joined.impressions for joined in found) == sum(len(step.shown) for step in steps)
    assert joiner.pending == 0
    assert len(joiner._shown) == len(joiner._actions) == len(joiner._repeats._last) == 0, "nothing is kept for ever"


def test_labels_negatives_and_the_window_end() -> None:
    joiner = Joiner(TASKS, 100, 1000)
    impressions = [Shown(10, "u", ["a", "b"], "s1"), Shown(20, "v", ["a"], "s2")]
    actions = [Action(15, "u", "a", "click"), Action(110, "u", "a", "like"), Action(50, "u", "a", "view")]
    assert outcome(update(joiner, Step(actions, impressions, 110)))["labelled"] == [], (
        "an action at the window's end is in time"
    )
    assert outcome(update(joiner, Step([], [], 111)))["labelled"] == [
        (10, 111, "u", "a", [1.0, 1.0], {"of": "s1"}),
        (10, 111, "u", "b", [0.0, 0.0], {"of": "s1"}),
    ]
    late = update(joiner, Step([Action(105, "u", "b", "click", "s1")], [], 120))
    assert (late.late_actions, late.impressions, late.pending) == (1, 0, 1)


def test_an_action_may_come_before_its_impression() -> None:
    joiner = Joiner(TASKS, 100, 1000)
    update(joiner, Step([Action(50, "u", "a", "click"), Action(60, "u", "b", "like", "s1")], [], 60))
    update(joiner, Step([], [Shown(40, "u", ["a", "b"], "s1")], 90))
    assert [row[4] for row in outcome(update(joiner, Step([], [], 200)))["labelled"]] == [[1.0, 0.0], [0.0, 1.0]]


def test_the_latest_impression_before_the_action_is_the_one() -> None:
    joiner = Joiner(TASKS, 100, 1000)
    impressions = [Shown(10, "u", ["a"], "s1"), Shown(30, "u", ["a"], "s2"), Shown(20, "u", ["a"], "s3")]
    update(joiner, Step([Action(25, "u", "a", "click"), Action(29, "u", "a", "like", "s2")], impressions, 30))
    labelled = outcome(update(joiner, Step([], [], 500)))["labelled"]
    assert {row[5]["of"]: row[4] for row in labelled} == {"s1": [0, 0], "s3": [1, 0], "s2": [0, 1]}


def test_a_full_joiner_labels_the_oldest_early_and_loses_none() -> None:
    joiner = Joiner(TASKS, 100, 2)
    joined = update(joiner, Step([Action(11, "u", "a", "click")], [Shown(10, "u", ["a", "b", "c"], "s1")], 20))
    assert outcome(joined)["labelled"] == [(10, 20, "u", "a", [1.0, 0.0], {"of": "s1"})]
    assert (joined.early, joined.impressions, joined.pending) == (1, 0, 1), "two of its items wait"
    assert update(joiner, Step([], [], 200)).impressions == 1


def test_a_repeat_is_more_of_the_same() -> None:
    actions = [
        Action(10, "u", "a", "click"),
        Action(20, "u", "a", "like"),
        Action(30, "v", "a", "click"),
        Action(40, "u", "b", "click"),
        Action(50, "u", "a", "view"),
        Action(151, "u", "a", "view"),
        Action(300, "v", "b", "click", "s"),
        Action(500, "v", "b", "like", "s"),
        Action(501, "v", "b", "like", "t"),
    ]
    found = update(Joiner(TASKS, 100, 1000), Step(actions, [], 501)).engagements.repeat
    assert np.flatnonzero(found).tolist() == [1, 7, 8]


def test_a_state_of_other_tasks_is_refused() -> None:
    with pytest.raises(StateError, match="set it back"):
        Joiner(("like",), 100, 10).load_state_dict(Joiner(TASKS, 100, 10).state_dict())


def test_without_tasks_there_is_no_joiner() -> None:
    assert joiner_from_config(StreamingConfig()) is None
    with pytest.raises(ValueError, match="named twice"):
        StreamingConfig(tasks=("click", "click"))
