"""The laboratory of drift: broken models are never served, and a rhythm changes times and nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.drift.__main__ import main
from benchmarks.drift.bad_models import DAMAGES, SHUFFLED, bad_models
from benchmarks.drift.counted import drawn
from benchmarks.drift.plants import DAY, PLANTS, Rhythm, StaleIndex
from benchmarks.drift.record import record
from hsnn.monitoring.observation import Observation
from hsnn.streaming.datasets import Dataset, load
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
    rhythm, rng = Rhythm(days=(stream[-1].ts - stream[0].ts) // (4 * DAY)), np.random.default_rng(0)
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


def events_of(user: str, data: Dataset) -> list[str]:
    log = data.engagements
    return [item for by, item in zip(log.user, log.item, strict=True) if by == user]


def test_a_seed_draws_the_users_of_a_stream() -> None:
    data = load("ml-100k")
    first, again, second = drawn(data, 0), drawn(data, 0), drawn(data, 1)
    assert first.engagements.user == again.engagements.user != second.engagements.user
    assert 0.6 < len(first) / len(data) < 0.95
    for sample in (first, second):
        log = sample.engagements
        assert set(map(len, (log.ts, log.item, log.value, log.context, log.repeat))) == {len(log.user)}
        assert events_of(log.user[0], sample) == events_of(log.user[0], data), "of a user all or nothing"


@pytest.mark.slow
def test_the_laboratory_finds_changes_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "drift.json"
    asked = ["--counted", "ml-100k", "--learned", "", "--json", str(path)]
    main(asked)
    first = path.read_bytes()
    main([*asked, "--seeds", "2"])
    done = msgspec.json.decode(path.read_bytes())
    assert [run["seed"] for run in done] == [0, 1]
    assert msgspec.json.encode(done[0]) in first, "what was done is not done again"
    for run in done:
        assert run["false"] == []
        assert set(run["plants"]) == {*PLANTS, "new catalogue"}
        assert all(0 < plant["delay"] < run["events"] for plant in run["plants"].values())
        assert all(plant["hours"] > 0 for plant in run["plants"].values())
