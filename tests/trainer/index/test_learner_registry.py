"""One suite for all index learners, on one, two and three learned levels."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from hsnn.trainer.config.index import IndexConfig, learner_names
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.index.maintenance import MaintenanceKind
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.model.item_encoder import Encoder
from hsnn.trainer.model.scorer import EncodedQueries, Scorer
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.maintenance import assign_slice, maintain_nodes
from tests.trainer.encoded import encoded

pytestmark = pytest.mark.slow

DEPTHS: dict[int, dict[str, Any]] = {
    1: {"nodes": 12},
    2: {"nodes": 4, "children": (3,)},
    3: {"nodes": 3, "children": (2, 2)},
}
LEAVES = 12
ALL_ON: dict[str, Any] = {
    "ramp": 200,
    "routing": 0.2,
    "joint": 0.3,
    "follow": 0.02,
    "distillation": 0.1,
    "reconstruction": 0.1,
    "beam_negatives": 0.1,
    "sharpness_ramp": 100.0,
    "balance": 0.2,
    "flops": 0.1,
    "representatives": True,
    "snap_every": 300,
    "test_time": 3,
    "test_time_interest": 0.1,
    "extra_steps": 2,
    "kmeans_every": 256,
}
"""Every option of the index at once, as often as possible."""

every_learner = pytest.mark.parametrize("name", learner_names())
every_depth = pytest.mark.parametrize("depth", DEPTHS)


def config_of(name: str, depth: int, **index: Any) -> TrainerConfig:
    model = ModelConfig(
        dim=8,
        state_dim=4,
        hidden=16,
        history=4,
        token_dim=4,
        buckets=256,
        node_heads=2,
        beam=3,
        budget=30,
        **DEPTHS[depth],
    )
    return TrainerConfig(
        model=model,
        uniform_negatives=48,
        index=IndexConfig(learner=name, **{"seed_after": 512, "balance": 1.0, "kmeans_every": 1024, **index}),
    )


@pytest.fixture(scope="session")
def course(new_world: type, teach: Callable[..., Any]) -> Callable[[str, int], tuple[Learner, np.ndarray]]:
    """``course("lti", 2)``: a learner that has seen 100 batches, and their node losses."""

    @cache
    def make(name: str, depth: int) -> tuple[Learner, np.ndarray]:
        learner, world = Learner(config_of(name, depth)), new_world()
        return learner, np.array([teach(learner, world, 1).node_loss for _ in range(100)])

    return make


@pytest.fixture(scope="session")
def node_losses(course: Callable[[str, int], tuple[Learner, np.ndarray]]) -> Callable[[str, int], np.ndarray]:
    return lambda name, depth: course(name, depth)[1]


@pytest.fixture
def trained(
    course: Callable[[str, int], tuple[Learner, np.ndarray]], copy_of: Callable[[Learner], Learner]
) -> Callable[[str, int], Learner]:
    """``trained("lti", 2)``: a copy of the learner that has taken the course."""
    return lambda name, depth: copy_of(course(name, depth)[0])


def published(learner: Learner) -> tuple[Encoder, Scorer, np.ndarray]:
    """What a reader makes of a snapshot, once it went over the wire."""
    snapshot = Snapshot.decode(encoded(make_snapshot(learner, SnapshotOrigin(1, 1))))
    model = ModelConfig.model_validate(snapshot.manifest.model)
    encoder = Encoder(model, snapshot.model)
    vectors = encoder.vectors(snapshot.items["embeddings"], snapshot.items["tokens"])
    return encoder, Scorer(model, snapshot.model), vectors


def states(learner: Learner) -> dict[str, bytes]:
    arrays, values = learner.state_dict()
    return {name: array.tobytes() + str((array.dtype, array.shape)).encode() for name, array in arrays.items()} | {
        name: repr(value).encode() for name, value in values.items()
    }


def unseen(learner: Learner, world: Any, size: int = 400) -> tuple[QueryArrays, np.ndarray, EncodedQueries]:
    """Queries that were not learned, their next items, and what the published model says."""
    world.now = learner.watermark
    prepared = learner.prepare(world.batch(size))
    known = (prepared.queries.history_items >= 0).any(1) & (learner.leaves.node_of[prepared.items] >= 0)
    queries, items = QueryArrays(*(part[known] for part in prepared.queries)), prepared.items[known]
    _, scorer, vectors = published(learner)
    return queries, items, scorer.encode(queries, vectors, learner.leaves.node_log_share())


@every_depth
@every_learner
def test_the_levels_learn_where_the_next_item_is(trained, new_world, name, depth):
    """In a world of six clusters: better than the nodes' traffic says, and than just after the start."""
    learner = trained(name, depth)
    _, items, encoded = unseen(learner, new_world(seed=7))
    rows, leaves = np.arange(len(items)), learner.leaves.node_of[items]
    surprise = -encoded.leaf_log_probs[rows, leaves].mean()
    traffic = -learner.leaves.node_log_share()[leaves].mean()
    assert len(items) > 300
    assert surprise < (0.85 if name == "streaming_vq" else 0.7) * traffic  # its nodes follow the items, not the users


@every_depth
@every_learner
def test_training_lowers_the_node_loss(node_losses, name, depth):
    """Of the batches just after the nodes were taken from items, and of later ones, each before it was learned."""
    losses = node_losses(name, depth)
    assert not losses[:8].any()
    assert losses[-10:].mean() < losses[8:12].mean() - 0.1


@every_depth
@every_learner
def test_what_is_published_is_what_was_learned(trained, name, depth):
    learner = trained(name, depth)
    encoder, scorer, vectors = published(learner)
    rows = np.arange(len(learner.items))
    leaves = encoder.assign(vectors)
    assert leaves.dtype == np.int32
    assert leaves.min() >= 0
    assert leaves.max() < LEAVES == len(encoder.node_vectors)
    assert len(np.unique(leaves)) >= 5
    assert leaves.tolist() == learner.network.assign(rows, learner.items.tokens).tolist()
    kept = encoder.representatives(vectors, rows, leaves)
    assert (leaves[kept[kept >= 0]] == np.flatnonzero(kept >= 0)).all()
    assert len(scorer.model.levels.levels) == depth


@every_depth
@every_learner
def test_after_maintenance_every_living_item_is_where_it_is_published(trained, name, depth):
    for kind in (MaintenanceKind.SEED, MaintenanceKind.REFIT, MaintenanceKind.SNAP):
        learner = trained(name, depth)
        living = np.flatnonzero(learner.alive(np.arange(len(learner.items))))
        maintain_nodes(learner, [kind], living, np.random.default_rng(0))
        while learner.passes.assigned is not None:
            assign_slice(learner)
        encoder, _, vectors = published(learner)
        own = learner.network.assign(living, learner.items.tokens)
        assert learner.leaves.node_of[living].tolist() == own.tolist() == encoder.assign(vectors)[living].tolist()


@every_depth
@every_learner
def test_served_scores_are_training_logits(trained, new_world, candidates_of, name, depth):
    learner = trained(name, depth)
    world = new_world(seed=11)
    world.now = learner.watermark
    prepared = learner.prepare(world.batch(24))
    candidates, seen = candidates_of(learner, prepared), []
    encoder, scorer, vectors = published(learner)
    encoded = scorer.encode(prepared.queries, vectors, learner.leaves.node_log_share())
    learner.network.monn.over_arch.register_forward_hook(lambda module, parts, logits: seen.append(logits.detach()))
    learner.network.step(prepared.queries, candidates, prepared.weights, learner.leaves, learner.events)
    nodes = encoder.assign(vectors)[candidates.rows]
    served = scorer.score_all(encoded, vectors[candidates.rows], candidates.states, nodes)
    np.testing.assert_allclose(served, seen[0].numpy(), atol=5e-5)


@pytest.mark.parametrize(
    ("name", "depth", "options"), [*product(learner_names(), DEPTHS, [{}]), *product(learner_names(), [2], [ALL_ON])]
)
def test_a_restored_learner_goes_on_to_the_last_bit(new_world, teach, name, depth, options):
    config = config_of(name, depth, **{"seed_after": 256, "kmeans_every": 256, **options})
    straight, world = Learner(config), new_world()
    teach(straight, world, 8)
    again, same = Learner.from_state_dict(config, *straight.state_dict()), deepcopy(world)
    assert states(again) == states(straight)
    for _ in range(2):
        teach(straight, world, 5)
        teach(again, same, 5)
        assert states(again) == states(straight)


@every_learner
def test_a_state_is_a_copy(new_world, teach, name):
    learner, world = Learner(config_of(name, 2, seed_after=128, **ALL_ON)), new_world()
    teach(learner, world, 5)
    before, _ = learner.state_dict()
    kept = {part: array.copy() for part, array in before.items()}
    teach(learner, world, 2)
    assert all(np.array_equal(before[part], kept[part]) for part in kept)


@every_learner
def test_a_checkpoint_of_another_learner_is_refused(new_world, teach, name):
    """Where one learner wants items to be, another one does not look."""
    learner = Learner(config_of(name, 1))
    teach(learner, new_world(), 1)
    other = "lti" if name != "lti" else "em"
    with pytest.raises(CheckpointError, match=rf"trainer\.index\.learner = {name}, not {other}"):
        Learner.from_state_dict(config_of(other, 1), *learner.state_dict())


@every_depth
@every_learner
def test_a_step_that_is_not_finite_changes_nothing(trained, new_world, name, depth):
    learner = trained(name, depth)
    world = new_world(seed=5)
    world.now = learner.watermark
    prepared = learner.prepare(world.batch(32))
    learner.network.items.content.weight[:, 0] = np.nan
    learner.steps += 1  # no maintenance is due
    before, leaves = learner.network.full_state(), learner.leaves.node_of.copy()
    kept = {part: array.copy() for part, array in before.items()}
    assert learner.train(prepared).unsafe == 32
    assert {part: array.tobytes() for part, array in learner.network.full_state().items()} == {
        part: array.tobytes() for part, array in kept.items()
    }
    assert learner.leaves.node_of.tolist() == leaves.tolist()


@every_learner
def test_the_same_batches_give_the_same_bits(new_world, teach, name):
    config = config_of(name, 2, seed_after=128, **ALL_ON)
    one, two = Learner(config), Learner(config)
    for learner in (one, two):
        teach(learner, new_world(), 10)
    assert states(one) == states(two)
