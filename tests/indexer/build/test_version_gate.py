"""Versions that are damaged or worse are refused; those that are merely newer are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from hsnn.indexer.assign.assigner import Assigner, snapshot_encoder
from hsnn.indexer.assign.capacity import NEAREST_NODE
from hsnn.indexer.assign.catalogue import ItemCatalogue
from hsnn.indexer.build.builder import build_base, make_manifest
from hsnn.indexer.build.version_gate import VersionGate, finds_less
from hsnn.indexer.errors import VersionNotFoundError, VersionRefusedError
from hsnn.indexer.store.version import IndexBase, Version
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner
from tests.trainer.conftest import SMALL, World, learn

pytestmark = pytest.mark.slow  # a model has to be learned that knows something


class Reader:
    """What the gate reads of the index: streams that are long enough, and the version in use."""

    def __init__(self, current: Any = None) -> None:
        self.in_use = current
        self.redis = SimpleNamespace(xrevrange=lambda name, count: [(b"9-0", {})])

    def key(self, *parts: Any) -> str:
        return ":".join(map(str, parts))

    def current(self) -> int | None:
        return None if self.in_use is None else self.in_use.version

    def manifest(self, number: int) -> Any:
        assert number == self.in_use.version
        return self.in_use


class Made:
    """A version of a snapshot, as the builder makes it."""

    def __init__(self, snapshot: Snapshot, number: int) -> None:
        self.snapshot = snapshot
        assigner = Assigner(snapshot, snapshot_encoder(snapshot), 4096, NEAREST_NODE)
        made = build_base(ItemCatalogue(snapshot), assigner)
        self.base: IndexBase = made.base
        self.manifest = make_manifest(snapshot.manifest, number, made, assigner, reason="test")

    def version(self) -> Version:
        return Version(self.manifest, self.snapshot, self.base)


@pytest.fixture(scope="module")
def snapshots() -> list[Snapshot]:
    """Of a learner that has learned, and of the same one a little later."""
    learner, world, taken = Learner(SMALL), World(users=240), []
    for number, batches in enumerate((32, 6), 1):
        learn(learner, world, batches)
        taken.append(make_snapshot(learner, SnapshotOrigin(number, 1)))
    return taken


@pytest.fixture
def judge(snapshots: list[Snapshot], monkeypatch: pytest.MonkeyPatch) -> Callable[[Made], None]:
    """Judges a version after the first one, which is in use."""
    monkeypatch.setattr("hsnn.indexer.build.version_gate._SETTLED", 1000)
    first = Made(snapshots[0], 1)
    gate = VersionGate(lambda number: {1: first.version()}[number])
    gate.check(Reader(), first.manifest, first.snapshot, first.base)  # type: ignore[arg-type]
    reader = Reader(first.manifest)

    def check(made: Made) -> None:
        gate.check(reader, made.manifest, made.snapshot, made.base)  # type: ignore[arg-type]

    return check


def changed_model(snapshot: Snapshot, change: Callable[[str, np.ndarray], np.ndarray]) -> Snapshot:
    return replace(snapshot, model={name: change(name, array) for name, array in snapshot.model.items()})


def test_the_next_version_passes(judge: Callable[[Made], None], snapshots: list[Snapshot]) -> None:
    judge(Made(snapshots[1], 2))


def test_rows_that_are_not_finite_are_refused(judge: Callable[[Made], None], snapshots: list[Snapshot]) -> None:
    embeddings = snapshots[1].items["embeddings"].copy()
    embeddings[3] = np.nan
    with pytest.raises(VersionRefusedError, match=r"1 row\(s\) of the item embeddings are not finite"):
        judge(Made(replace(snapshots[1], items=snapshots[1].items | {"embeddings": embeddings}), 2))


def test_scaled_weights_are_refused(judge: Callable[[Made], None], snapshots: list[Snapshot]) -> None:
    scaled = changed_model(snapshots[1], lambda _, a: a * 30 if a.dtype.kind == "f" else a)
    with pytest.raises(VersionRefusedError, match="times as large as in version 1"):
        judge(Made(scaled, 2))


def test_shuffled_nodes_are_refused(judge: Callable[[Made], None], snapshots: list[Snapshot]) -> None:
    made = Made(snapshots[1], 2)
    nodes = np.random.default_rng(0).permutation(SMALL.model.leaves)[made.base.nodes]
    made.base = replace(made.base, nodes=np.where(made.base.nodes >= 0, nodes, -1).astype(np.int32))
    with pytest.raises(VersionRefusedError, match=r"last items it finds .* \(nodes\), the version in use"):
        judge(made)


def test_a_new_leader_knows_what_is_in_use(snapshots: list[Snapshot]) -> None:
    first, made = Made(snapshots[0], 1), Made(snapshots[1], 2)
    nodes = np.random.default_rng(0).permutation(SMALL.model.leaves)[made.base.nodes]
    shuffled = replace(made.base, nodes=np.where(made.base.nodes >= 0, nodes, -1).astype(np.int32))
    loaded = []

    def load(number: int) -> Version:
        loaded.append(number)
        return first.version()

    gate = VersionGate(load)
    with pytest.raises(VersionRefusedError, match=r"last items it finds .* \(nodes\), the version in use"):
        gate.check(Reader(first.manifest), made.manifest, made.snapshot, shuffled)  # type: ignore[arg-type]
    assert loaded == [1, 1], "to be judged, and to answer the same queries"
    gate.check(Reader(first.manifest), made.manifest, made.snapshot, made.base)  # type: ignore[arg-type]
    assert loaded == [1, 1], "it is judged once"


def test_a_version_in_use_that_is_gone_is_compared_with_nothing(snapshots: list[Snapshot]) -> None:
    def gone(number: int) -> Version:
        raise VersionNotFoundError(f"there is no version {number}")

    first, made = Made(snapshots[0], 1), Made(snapshots[1], 2)
    VersionGate(gone).check(Reader(first.manifest), made.manifest, made.snapshot, made.base)  # type: ignore[arg-type]


def test_shuffled_items_are_refused(judge: Callable[[Made], None], snapshots: list[Snapshot]) -> None:
    made = Made(snapshots[1], 2)
    order = np.random.default_rng(0).permutation(len(made.base.vectors))
    made.base = replace(made.base, vectors=made.base.vectors[order], nodes=made.base.nodes[order])
    with pytest.raises(VersionRefusedError, match="is worse than version 1"):
        judge(made)


@pytest.mark.parametrize(
    ("stamps", "text"),
    [
        ({"state_id": "12-0"}, "continues the stream state after 12-0, and the stream ends at 9-0"),
        ({"feed_id": "12-0"}, "continues the stream feed after 12-0"),
        ({"events": 5}, "has 5 events of epoch 1, and the version in use"),
    ],
)
def test_stamps_that_cannot_be_are_refused(
    judge: Callable[[Made], None], snapshots: list[Snapshot], stamps: dict[str, Any], text: str
) -> None:
    manifest = msgspec.structs.replace(snapshots[1].manifest, **stamps)
    with pytest.raises(VersionRefusedError, match=text):
        judge(Made(replace(snapshots[1], manifest=manifest), 2))


def test_another_epoch_is_not_compared(judge: Callable[[Made], None], snapshots: list[Snapshot]) -> None:
    manifest = msgspec.structs.replace(snapshots[1].manifest, epoch=2, events=5)
    judge(Made(replace(snapshots[1], manifest=manifest), 2))


def test_two_versions_answer_the_same_queries(snapshots: list[Snapshot]) -> None:
    old, new = Made(snapshots[0], 1), Made(snapshots[1], 2)
    assert finds_less(new.version(), old.version()) is False
    order = np.random.default_rng(0).permutation(len(new.base.vectors))
    new.base = replace(new.base, vectors=new.base.vectors[order], nodes=new.base.nodes[order])
    assert finds_less(new.version(), old.version()) is True
    other = Made(replace(snapshots[1], manifest=msgspec.structs.replace(snapshots[1].manifest, epoch=2)), 3)
    assert finds_less(other.version(), old.version()) is None


def test_scores_that_are_not_finite_find_nothing(snapshots: list[Snapshot]) -> None:
    old, new = Made(snapshots[0], 1), Made(snapshots[1], 2)
    new.base = replace(new.base, vectors=np.full_like(new.base.vectors, np.nan))
    assert finds_less(new.version(), old.version()) is True
