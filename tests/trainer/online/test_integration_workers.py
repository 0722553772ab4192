"""Several workers learn what one would of the same batches, and are the same to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from hsnn.streaming.schema.batch import LabelledImpressions
from hsnn.trainer.checkpoint.digest import digest
from hsnn.trainer.config.index import learner_names
from hsnn.trainer.distributed.process_group import ProcessGroup, join_process_group
from hsnn.trainer.distributed.shard import FULL_SHARD, QueryShard
from hsnn.trainer.index import background_fit
from hsnn.trainer.training import maintenance
from hsnn.trainer.training.learner import Learner

pytestmark = pytest.mark.slow


def weights(learner: Learner) -> np.ndarray:
    """All that gradients move, in a row."""
    arrays = learner.network.full_state()
    names = sorted(name for name in arrays if name.startswith(("monn", "items.w", "content.w", "features.w")))
    return np.concatenate([arrays[name].ravel() for name in names])


def told(learner: Learner) -> str:
    arrays, values = learner.state_dict()
    return digest(arrays, {"learner": values})


@pytest.fixture
def learners(config, with_index) -> Callable[..., list[Learner]]:
    """``learners(3, "em")``: so many new ones with two levels and cross features; nodes come after two batches."""

    def make(count: int, name: str) -> list[Learner]:
        model = config.model.model_copy(update={"cross": True, "nodes": 4, "children": (3,)})
        chosen = with_index(config.model_copy(update={"model": model}), learner=name, seed_after=128)
        return [Learner(chosen) for _ in range(count)]  # not in threads: torch has one generator for all

    return make


def course(learner: Learner, stream: Any, sizes: Sequence[int]) -> Learner:
    for size in sizes:
        batch = stream.batch(size) if size else stream.clicks([], [], items=[stream.item("c1-new")])
        learner.train(learner.prepare(batch))
    return learner


def taught(learners: list[Learner], new_world: type, together: Any, sizes: Sequence[int]) -> None:
    """Let learners learn the same batches, as the workers of one world."""

    def work(world: ProcessGroup) -> None:
        learners[world.rank].network.world = world
        course(learners[world.rank], new_world(), sizes)

    together(len(learners), work)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", learner_names())
def test_workers_learn_what_one_would(learners, together, new_world, size, name):
    """Up to the order of sums; in later steps the smallest difference grows, as in any training."""
    start, alone, *others = learners(size + 2, name)
    course(alone, new_world(), [64] * 4)
    taught(others, new_world, together, [64] * 4)
    moved = np.linalg.norm(weights(alone) - weights(start))
    assert np.linalg.norm(weights(others[0]) - weights(alone)) < 1e-2 * moved
    for part, array in alone.state_dict()[0].items():
        if part.startswith(("item_counters", "histories", "items", "frequency", "covisitation")):
            assert others[0].state_dict()[0][part].tobytes() == array.tobytes(), part


@pytest.mark.parametrize("size", [2, 3])
def test_workers_stay_the_same_to_the_last_bit(learners, together, new_world, size):
    """Batches of a single event and of none among them."""
    found = learners(size, "em")
    taught(found, new_world, together, [64] * 20 + [1, 0, 63] + [64] * 5)
    assert len({told(learner) for learner in found}) == 1
    assert len({learner.network.world.fingerprint for learner in found}) == 1
    assert found[0].network.world.fingerprint


def test_a_step_that_is_not_finite_for_one_is_left_out_by_all(config, together, new_world, teach):
    made = [Learner(config.model_copy(update={"uniform_negatives": 0})) for _ in range(2)]

    def work(world: ProcessGroup):
        learner, stream = made[world.rank], new_world()
        learner.network.world = world
        teach(learner, stream, 4)
        batch = stream.clicks(["u1", "u2", "u3", "broken"], ["c1-0", "c2-0", "c3-0", "c1-0"])
        prepared = learner.prepare(batch)
        broken = learner.items.table.find(["c4-0"])[0]
        prepared.queries.history_items[:] = -1
        prepared.queries.history_items[3, -1] = broken  # of the last worker's part
        learner.network.items.ids.weight[broken] = np.nan
        report = learner.train(prepared)
        return report.events, report.unsafe, told(learner)

    found = together(2, work)
    assert [one[:2] for one in found] == [(0, 4)] * 2
    assert found[0] == found[1]


def test_few_queries_are_not_shared_out():
    assert ProcessGroup(1, 2).shard(1) is FULL_SHARD
    assert ProcessGroup(1, 2).shard(2) == QueryShard(1, 2)


def test_without_torchrun_there_is_nobody_to_join():
    assert join_process_group(1.0, "digest", {}) is None
    assert join_process_group(1.0, "digest", {"WORLD_SIZE": "1", "RANK": "0"}) is None


@pytest.mark.parametrize("size", [2, 3])
def test_judged_items_too_few_for_all_are_learned_by_all(config, together, new_world, size):
    model = config.model.model_copy(update={"tasks": ("click",), "cross": True})
    found = [Learner(config.model_copy(update={"model": model})) for _ in range(size)]

    def work(world: ProcessGroup) -> None:
        learner, stream = found[world.rank], new_world()
        learner.network.world = world
        for judged in (0, 3, 1, 0, 2, 1):
            ts = np.full(judged, stream.now, np.int64)
            labels = np.ones((judged, 1), np.float32)
            shown = LabelledImpressions(ts, ts, ["u1"] * judged, ["c1-0"] * judged, labels, [None] * judged)
            learner.train(learner.prepare(stream.batch(32, labelled_impressions=shown)))

    together(size, work)
    assert len({told(learner) for learner in found}) == 1
    assert len({learner.network.world.fingerprint for learner in found}) == 1


def test_workers_take_nodes_fitted_in_threads_at_the_same_step(config, with_index, new_world, together, monkeypatch):
    """Many items are too many to fit nodes to within a step."""
    for module in (background_fit, maintenance):
        monkeypatch.setattr(module, "GATHERED_AT_ONCE", 24)
    chosen = with_index(config, learner="em", seed_after=512, kmeans_every=512)
    learners = [Learner(chosen) for _ in range(2)]
    taught(learners, new_world, together, [64] * 40)
    assert learners[0].network.seeded
    assert learners[0].network.fit is not None
    assert told(learners[0]) == told(learners[1])
