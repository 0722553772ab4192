"""A copy that is made while training goes on is the state at the moment when it was begun, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import product
from typing import Any

import numpy as np
import pytest

from hsnn.streaming.schema.batch import LabelledImpressions
from hsnn.trainer.checkpoint.learner_copy import LearnerCopy
from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.config.index import learner_names
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.rowstore import copy_on_write
from hsnn.trainer.training.learner import Learner

LIMITED = IdsConfig(
    items=IdLimits(cap=80, expire_after=20.0, floor=8),
    users=IdLimits(cap=40, floor=4, admit_after=2),
    candidates=30,
    reuse_after=128,
)


def of(config: TrainerConfig, model: dict[str, Any], index: dict[str, Any], **more: Any) -> TrainerConfig:
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=model),
            "index": config.index.model_copy(update={"seed_after": 256, "kmeans_every": 256, **index}),
        }
        | more
    )


class Course:
    """Teaches a learner everything that happens: clicks, judgements, new features, deletions, expiry."""

    def __init__(self, learner: Learner, world: Any, number: int = 0) -> None:
        self.learner, self.world, self.number = learner, world, number

    def step(self) -> None:
        self.number += 1
        world, more = self.world, {}
        names = sorted(world.known)
        if self.number % 3 == 0 and names:
            more |= {
                "deleted_users": [f"u{(self.number + 7) % 60}"],
                "users": [world.user(f"u{self.number % 50}", age=self.number)],
                "seen_items": [(f"shown-{self.number}", world.now, 1)],
            }
        if self.learner.config.model.tasks and names:
            more["labelled_impressions"] = self.judgements(names)
        batch = world.batch(64, **more)
        if self.number % 3 == 0 and names:
            batch.items.insert(0, world.deletion(names[self.number % len(names)]))
            batch.item_sent_at.insert(0, world.now)
        if self.number % 5 == 0 and names:
            item = world.item(names[-self.number % len(names)], colour=self.number)
            batch.items.append(item)
            batch.item_sent_at.append(item.ts)
        self.learner.train(self.learner.prepare(batch))

    def judgements(self, names: list[str]) -> LabelledImpressions:
        rng, world = np.random.default_rng(self.number), self.world
        items = [names[at] for at in rng.integers(len(names), size=6)]
        return LabelledImpressions(
            ts=np.full(6, world.now - 1),
            decided_at=np.full(6, world.now),
            user=[f"u{at}" for at in rng.integers(60, size=6)],
            item=items,
            labels=rng.integers(0, 2, (6, 1)).astype(np.float32),
            context=[None] * 6,
        )


def same(copy: LearnerCopy, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    found = copy.arrays()
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name
    assert copy.values == values


CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    **{name: ({}, {"learner": name}, {}) for name in learner_names()},
    "tasks": ({"tasks": ("click",)}, {}, {}),
    "cross": ({"cross": True}, {}, {}),
    "slow": ({"cross": True, "tasks": ("click",)}, {}, {"slow_from": 0.0, "slow_step": 16, "replay_size": 200}),
    "limited": (
        {"cross": True, "tasks": ("click",)},
        {},
        {"ids": LIMITED, "expire_after_idle": 60.0, "slow_from": 0.0, "replay_size": 300},
    ),
    "expiring": ({"children": (2,)}, {"snap_every": 200}, {"expire_after_idle": 100.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "slice_bytes"),
    [*product(CONFIGS, [1 << 12]), ("slow", 64), ("em", 1 << 30)],
)
def test_a_copy_is_the_moment_of_its_beginning(
    config: TrainerConfig, new_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, slice_bytes: int
) -> None:
    monkeypatch.setattr(copy_on_write, "_SLICE", slice_bytes)
    learner = Learner(of(config, *CONFIGS[name][:2], **CONFIGS[name][2]))
    course = Course(learner, new_world())
    copy = LearnerCopy(learner)
    for steps in (0, 3, 2, 4, 1, 3):
        for _ in range(steps):
            course.step()
        arrays, values = learner.state_dict()
        copy.begin()
        for number in range(3):
            course.step()
            if number:
                copy.advance(0.0)  # one slice
        copy.advance(60.0)
        assert copy.complete
        same(copy, arrays, values)
    assert name != "limited" or learner.recycled  # rows were given to others


@pytest.fixture(scope="module")
def begun(config: TrainerConfig, new_world: Callable[..., Any]) -> Course:
    """The first steps of a course in which rows are given to others; not to be changed."""
    course = Course(Learner(of(config, *CONFIGS["limited"][:2], **CONFIGS["limited"][2])), new_world())
    for _ in range(8):
        course.step()
    return course


@pytest.mark.slow
@pytest.mark.parametrize("place", range(18))
def test_a_table_that_changes_unannounced_is_found_out(
    begun: Course, copy_of: Callable[[Learner], Learner], place: int
) -> None:
    learner = copy_of(begun.learner)
    course = Course(learner, deepcopy(begun.world), begun.number)
    copy = LearnerCopy(learner)
    assert len(copy.tables) == 18
    table = copy.tables[place].table
    table.barrier.subscribe(lambda rows: None)
    arrays, values = learner.state_dict()
    copy.begin()
    for _ in range(12):
        course.step()
    copy.advance(60.0)
    with pytest.raises(AssertionError, match=rf"^{table.name}\."):
        same(copy, arrays, values)


@pytest.mark.slow
def test_a_copy_goes_on_when_a_learner_is_known(
    config: TrainerConfig, new_world: Callable[..., Any], teach: Any
) -> None:
    learner, world = Learner(config), new_world()
    teach(learner, world, 6)
    copy = LearnerCopy(learner, known=True)
    teach(learner, world, 1)
    arrays, values = learner.state_dict()
    copy.begin()
    copy.advance(60.0)
    same(copy, arrays, values)  # all of it is copied, but little of it is news
    states = next(copy for copy in copy.tables if copy.table.name == "item_counters")
    assert 0 < len(states.changed) < states.rows
    assert copy.spent > 0
