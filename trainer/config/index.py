"""Configuration of index learning: `trainer.index`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from hsnn.monitoring.discovery import module_names
from hsnn.monitoring.section import Section

LEARNERS_PACKAGE = "hsnn.trainer.index.learners"
"""Package whose modules are the index learners."""


def learner_names() -> tuple[str, ...]:
    """Name the index learners, without importing them."""
    return module_names(LEARNERS_PACKAGE)


def _known_learner(name: str) -> str:
    if name not in (known := learner_names()):
        raise ValueError(f"there is no index learner {name!r}; there are {', '.join(known)}")
    return name


class IndexConfig(Section):
    """How the hierarchy is learned; every regulariser can be switched off on its own."""

    learner: Annotated[str, AfterValidator(_known_learner)] = Field(
        "em",
        description="em, lti (the paper's joint learner), oneshot, streaming_vq or sil (periodic k-means, not joint)",
    )
    seed_after: int = Field(0, ge=0, description="events before the node vectors are taken from item vectors")
    early: bool = Field(
        True,
        description="choose the best half-life from the first steps on, judged by items that were engaged with before",
    )
    rate: float = Field(3e-3, gt=0, description="Adam rate of the node vectors and the index head")
    ramp: int = Field(
        0, ge=0, description="events over which the weight of the index losses grows linearly; 0: at once"
    )
    routing: float = Field(
        0.3,
        ge=0,
        description="weight of the loss that moves items to nodes their users choose (oneshot)",
    )
    joint: float = Field(
        0.5,
        ge=0,
        description="weight of the index losses whose gradient reaches item vectors (learners lti and streaming_vq)",
    )
    follow: float = Field(
        0.3,
        ge=0,
        le=1,
        description="fraction of the distance to its items' mean that a node moves per batch (em, oneshot)",
    )
    distillation: float = Field(
        1.0,
        ge=0,
        description="weight of the loss that distils the item level's ranking of the candidates into the levels",
    )
    reconstruction: float = Field(0.0, ge=0, description="weight of the squared error of node vectors as item vectors")
    interaction: float = Field(
        0.0,
        ge=0,
        description="weight of the error of the levels' interaction towers, where `cross` is on",
    )
    beam_negatives: float = Field(
        0.0, ge=0, description="weight of the loss among the nodes that a beam opens on each level: hard negatives"
    )
    sharpness: float = Field(
        5.0, gt=0, description="alpha of the soft assignment, on squared distances divided by their mean (oneshot, lti)"
    )
    sharpness_ramp: float = Field(
        0.0, ge=0, description="events after which alpha has come 63% of its way from 1; 0: it is fixed"
    )
    balance: float = Field(0.1, ge=0, description="weight of the KL balance, on running hard shares (oneshot, lti)")
    flops: float = Field(0.0, ge=0, description="weight of the FLOPs balance, on soft shares (oneshot, lti)")
    revive: bool = Field(True, description="move nearly empty nodes onto items of the fullest ones")
    representatives: bool = Field(False, description="a node's representative item is one of its features")
    snap_every: int = Field(0, ge=0, description="events between snaps of every node to its nearest item; 0: never")
    test_time: int = Field(0, ge=0, description="batches between steps of test-time training; 0: never")
    test_time_depth: int = Field(
        2, ge=1, description="learned levels, counted from the leaves, whose nodes become pairs"
    )
    test_time_interest: float = Field(
        0.4, ge=0, le=1, description="share of a node's children that the user must have engaged with"
    )
    extra_steps: int = Field(
        0,
        ge=0,
        description="batches between extra steps on the levels' log loss, for comparison with `test_time`; 0: never",
    )
    kmeans_every: int = Field(
        5000,
        ge=1,
        description="events between runs of k-means over the items (em and sil); more with many items",
    )
    popularity: float = Field(
        0.5, ge=0, description="weight of an item's mean score in the metric of its assignment (em); 0: taste alone"
    )
    decay: float = Field(0.99, gt=0, lt=1, description="memory of the moving-average node vectors (streaming_vq)")
    discount: float = Field(
        1.0, ge=0, description="distance to a node counts min(size / mean size * this, 1) times (streaming_vq); 0: off"
    )
