"""The laboratory of drift: broken models are never served, and a rhythm changes times and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drift.bad_models import DAMAGES, SHUFFLED, bad_models
from benchmarks.drift.plants import DAY, Rhythm, StaleIndex
from benchmarks.drift.record import record
from hsnn.monitoring.observation import Observation
from hsnn.streaming.datasets import load
from hsnn.trainer.training.learner import Learner
from tests.trainer.conftest import SMALL, World, indexed, learn

# Seconds for which a broken model may be served: the promise is that it never is for longer.
A_MINUTE = 60.0


@pytest.mark.slow
def test_a_broken_model_is_refused_by_the_gate_and_rolled_back_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsnn.indexer.build.version_gate._SETTLED", 1000)
    outcomes = bad_models(load("ml-100k"), SMALL, events=30_000, seed=0)
    healthy = outcomes.pop("none")
    assert healthy["served"]
    assert set(outcomes) == {*DAMAGES, SHUFFLED}
    for damage, outcome in outcomes.items():
        assert not outcome["served"], damage
        assert outcome["reason"], damage
        assert outcome["seconds"] < A_MINUTE, damage
        assert outcome["rollback"]["seconds"] < A_MINUTE, damage


def actions(stream: list[Observation]) -> set[str]:
    return {action for seen in stream for action in seen.actions}


@pytest.mark.slow
def test_a_rhythm_keeps_order_and_delays_and_returns_every_day() -> None:
    stream = list(record(load("ml-100k"), 5120, 0, model=False))
    hours = 4 * DAY / (stream[-1].ts - stream[0].ts)
    rhythm, rng = Rhythm(hours), np.random.default_rng(0)
    changed = [rhythm(seen, rng) for seen in stream]
    times = np.concatenate([seen.event_ts for seen in changed])
    assert (np.diff(times) >= 0).all()
    assert [(seen.sent_at - seen.event_ts).tolist() for seen in changed] == [
        (seen.sent_at - seen.event_ts).tolist() for seen in stream
    ]
    assert {action for seen in changed for action in seen.actions} - {a for s in stream for a in s.actions} == {
        "listen"
    }
    assert [seen.items.tolist() for seen in changed] == [seen.items.tolist() for seen in stream]


def test_a_stale_index_leaves_every_item_where_it_is() -> None:
    learner, world, stale = Learner(indexed(SMALL, seed_after=128)), World(), StaleIndex(start=640)
    stale(639, learner)
    learn(learner, world, 6)
    nodes = learner.leaves.node_of.copy()
    assert (nodes >= 0).any(), "not stale yet"
    stale(640, learner)
    report = learn(learner, world, 6)
    assert learner.leaves.node_of[: len(nodes)].tolist() == nodes.tolist()
    assert report.moved > 0, "the model moved on"
