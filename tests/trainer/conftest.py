"""A planted world: users of cluster c click items of cluster c, and an item's content names its cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

import hsnn.trainer.training.sampling
from hsnn.streaming.schema.batch import Batch, Engagements
from hsnn.streaming.schema.events import Item, ItemDeletion, User
from hsnn.trainer.config.catalogue import CatalogueConfig
from hsnn.trainer.config.exclude import ExcludeConfig
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.optim.step import StepCandidates
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import PreparedBatch, StepReport
from hsnn.trainer.training.replay_buffer import Examples

torch.set_num_threads(1)  # as in production; two tests at once must not fight over the cores

START = 1_700_000_000_000
CLUSTERS = 6
PER_CLUSTER = 20

SMALL = TrainerConfig(
    model=ModelConfig(
        dim=8, state_dim=4, hidden=16, history=4, token_dim=4, buckets=256, nodes=12, node_heads=2, beam=2, budget=30
    ),
    index=IndexConfig(seed_after=512),
    uniform_negatives=48,
    replay=1.0,
    catalogue=CatalogueConfig(mass_expiry_share=1.0),  # the clock of this small world leaps
    exclude=ExcludeConfig(rule="nothing"),  # users of this small world come back to the same items all the time
)


@dataclass
class World:
    """Makes batches; every event is `step` ms after the one before."""

    seed: int = 0
    step: int = 1000
    users: int = 60
    now: int = START
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def batch(self, size: int = 64, **more: Any) -> Batch:
        """The next `size` clicks; items are announced before their first click."""
        users = self.rng.integers(self.users, size=size)
        places = np.minimum(self.rng.geometric(0.12, size) - 1, PER_CLUSTER - 1)
        names = [f"c{user % CLUSTERS}-{place}" for user, place in zip(users, places, strict=True)]
        items = [self.item(name) for name in dict.fromkeys(names) if name not in self.known]
        self.known.update(names)
        return self.clicks([f"u{user}" for user in users], names, items=items, **more)

    def clicks(self, by: list[str], on: list[str], **more: Any) -> Batch:
        """A batch of exactly these clicks."""
        count = len(by)
        ts = self.now + self.step * (1 + np.arange(count, dtype=np.int64))
        self.now = int(ts[-1]) if count else self.now
        nothing: list[dict[str, Any] | None] = [{"hour": int(t // 3_600_000 % 24)} for t in ts]
        events = Engagements(ts, ts + 5, by, on, ["click"] * count, np.full(count, np.nan, np.float32), nothing)
        items = more.pop("items", [])
        return Batch(
            engagements=events,
            positions={("engagements", 0): 0},
            watermark=more.pop("watermark", self.now),
            items=items,
            item_sent_at=[item.ts or self.now for item in items],
            **more,
        )

    def deletion(self, name: str) -> ItemDeletion:
        return ItemDeletion(id=name)

    def item(self, name: str, **features: Any) -> Item:
        return Item(id=name, ts=self.now, features={"topic": name.partition("-")[0], **features})

    def user(self, name: str, **features: Any) -> User:
        return User(id=name, ts=self.now, features=features)


def learn(learner: Learner, world: World, batches: int, size: int = 64) -> StepReport:
    report = StepReport(float("nan"), float("nan"), 0)
    for _ in range(batches):
        report = learner.train(learner.prepare(world.batch(size)))
    return report


def indexed(config: TrainerConfig, **changes: Any) -> TrainerConfig:
    return config.model_copy(update={"index": config.index.model_copy(update=changes)})


@pytest.fixture(scope="session")
def candidates_of() -> Callable[[Learner, PreparedBatch], StepCandidates]:
    """``candidates_of(learner, prepared)``: what a batch would be scored against, without replay."""

    def draw(learner: Learner, prepared: PreparedBatch) -> StepCandidates:
        examples = Examples(prepared.queries, prepared.items, prepared.weights)
        return hsnn.trainer.training.sampling.sample_candidates(learner, prepared, examples, np.random.default_rng(0))

    return draw


@pytest.fixture(scope="session")
def config() -> TrainerConfig:
    return SMALL


@pytest.fixture(scope="session")
def with_index() -> Callable[..., TrainerConfig]:
    """``with_index(config, balance=0.0)`` changes how the index is learned."""
    return indexed


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def new_world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def teach() -> Callable[..., StepReport]:
    """``teach(learner, world, batches)`` lets a learner learn batches of a world; returns the last report."""
    return learn


@pytest.fixture(scope="session")
def taught() -> tuple[Learner, World]:
    """A learner that has seen 250 batches of a world, and that world; not to be changed.

    In a world of six even clusters the routing term crowds young nodes together, so balance weighs more here.
    """
    learner, world = Learner(indexed(SMALL, balance=1.0, seed_after=2048)), World()
    learn(learner, world, 250)
    return learner, world


@pytest.fixture(scope="session")
def copy_of() -> Callable[[Learner], Learner]:
    """An independent learner in the same state."""
    return lambda learner: Learner.from_state_dict(learner.config, *learner.state_dict())
