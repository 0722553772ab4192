"""Learner, scheduler and mirror together: the mirror's cross features are made of what the learner has."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.indexer.assign.capacity import PlacementRules
from hsnn.indexer.jobs.rebalance import BalanceBounds, find_unbalanced, make_command
from hsnn.indexer.store.version import VersionManifest
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.schema.events import Item
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot


@pytest.mark.slow
def test_the_mirror_has_what_the_learner_has(config, new_data):
    crossed = config.model_copy(update={"model": config.model.model_copy(update={"cross": True})})
    system = OfflineSystem(crossed, snapshot_every=60.0, snapshot_events=512)
    for batch in new_data(2000, drifting=True).batches(64):
        system.learn(system.prepare(batch))
    assert system.versions > 1
    assert system.arrived > 0
    learner, mirror_tables = system.learner, system.mirror.state.cross_features
    rows, mirrored, learned = len(learner.items), mirror_tables.covisitation, learner.covisitation
    assert (learned.neighbours >= 0).any()
    for name in ("neighbours", "weights", "totals", "last"):
        assert np.array_equal(getattr(mirrored, name)[:rows], getattr(learned, name)[:rows])
    indexed = np.flatnonzero(system.mirror.state.index.leaves.node_of[:rows] >= 0)
    assert np.array_equal(mirror_tables.tokens[indexed], learner.items.tokens[indexed])


@pytest.mark.slow
def test_in_a_mirror_no_node_is_ever_above_its_bound(config, new_data, monkeypatch):
    seen, rules, apply = [], PlacementRules(margin=0.3, over_mean=1.5, floor=2), Mirror.apply_delta
    system = OfflineSystem(config, snapshot_every=60.0, snapshot_events=512, rules=rules)

    def watched(mirror, delta):
        done = apply(mirror, delta)
        seen.append((mirror.version, mirror.state.index.leaves.sizes.copy()))
        return done

    monkeypatch.setattr(Mirror, "apply_delta", watched)
    for batch in new_data(2000, drifting=True).batches(64):
        flipped = system.learn(system.prepare(batch)).new_version
        if flipped:
            seen.append((system.mirror.version, system.mirror.state.index.leaves.sizes.copy()))
    peaks: dict[int, int] = {}
    for version, sizes in seen:
        peaks[version] = max(peaks.get(version, 0), int(sizes.sum()))
        assert sizes.max() <= rules.node_cap(peaks[version], len(sizes))
    assert len(peaks) > 1
    assert sum(sizes.max() == rules.node_cap(int(sizes.sum()), len(sizes)) for _, sizes in seen) > 3, (
        "the bound is reached"
    )


@pytest.mark.slow
def test_an_item_changes_its_node_only_for_one_that_is_nearer_by_the_margin(config, new_data):
    system, before = (
        OfflineSystem(config, snapshot_every=60.0, snapshot_events=512, rules=PlacementRules(margin=0.5)),
        None,
    )
    moved = stayed = 0
    for batch in new_data(2000).batches(64):
        if not system.learn(system.prepare(batch)).new_version:
            continue
        index, assigner = system.mirror.state.index, system._live.assigner
        nodes = index.leaves.node_of.copy()
        if before is not None:
            rows = np.flatnonzero((before >= 0) & (nodes >= 0))
            vectors, nearest = index.vectors[rows], assigner.distances(index.vectors[rows]).argmin(1)
            old, now = (np.sqrt(assigner.distances_to(vectors, column[rows])) for column in (before, nodes))
            other = before[rows] != nodes[rows]
            assert (old[other] > 1.5 * now[other]).all()
            assert (nodes[rows][other] == nearest[other]).all()
            kept = ~other & (nodes[rows] != nearest)
            moved, stayed = moved + int(other.sum()), stayed + int(kept.sum())
        before = nodes
    assert moved > 0
    assert stayed > 0


@pytest.mark.slow
def test_new_items_crowd_a_node_and_a_rebalance_makes_room(config, new_data):
    """From the look at the nodes to the version that answers: only the learner changed the nodes, once."""
    system = OfflineSystem(config, snapshot_every=60.0, snapshot_events=512)
    batches = list(new_data(2200).batches(64))
    for batch in batches[:-2]:
        system.learn(system.prepare(batch))
    now = system.learner.watermark
    crowd = [Item(id=f"new{n}", ts=now, features={"topic": "c0", "sort": f"s{n % 40}"}) for n in range(300)]
    system.learn(system.prepare(replace(batches[-2], items=crowd, item_sent_at=[now] * len(crowd))))
    before = system.sizes()
    found = find_unbalanced(before, BalanceBounds(over_mean=3.0, floor=20, starved=1.0))
    assert len(found.split) > 0
    manifest = make_snapshot(system.learner, SnapshotOrigin(1, 1)).manifest
    assert manifest.generation == 0
    version = VersionManifest(
        version=system.versions,
        epoch=1,
        snapshot=1,
        checkpoint="",
        events=0,
        watermark=0,
        created_at=0,
        items=0,
        rows=0,
        nodes=len(before),
        config_digest="",
        state_id="",
        reason="",
    )
    command = msgspec.json.encode(make_command(version, found, now, over=3.0))
    system.learn(system.prepare(replace(batches[-1], control=(command, command))))
    assert system.learner.commanded.generation == 1
    system._publish()
    after = system.sizes()
    assert after.sum() == before.sum()
    assert after.max() < 0.85 * before.max()
    assert (system.mirror.state.index.leaves.sizes == after).all()
