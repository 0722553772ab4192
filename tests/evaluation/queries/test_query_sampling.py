"""Which events become queries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.queries.query_sampling import QuerySampler, QueryWindow
from hsnn.trainer.config.index import IndexConfig


def sampled_events(config, data, window: QueryWindow, batch: int = 64):
    system, sampler, found = OfflineSystem(config, 600.0, 10**9), QuerySampler(window, config.seed), []
    for one in data.batches(batch):
        prepared = system.prepare(one)
        found.append(sampler.sample(prepared, system.learner, 20)[0])
    return np.concatenate([sampled.event for sampled in found]), found


def test_a_window_is_given_in_shares_or_in_events():
    assert QueryWindow.from_edges(2_000_000, 0.05, 600_000, 1_200_000) == QueryWindow(0.05, 600_000, 1_200_000)
    assert QueryWindow.from_edges(2_000_000, 0.05, 0.3, 0.6) == QueryWindow(0.05, 600_000, 1_200_000)
    assert QueryWindow.from_edges(1000, 0.05, 0.0, 5000).stop == 1000
    for start, stop in ((0.6, 0.5), (2000, 3000), (0.5, 0.5)):
        with pytest.raises(ProtocolError, match="of a stream of 1,000 events are none"):
            QueryWindow.from_edges(1000, 0.05, start, stop)


def test_every_event_of_the_window_that_repeats_nothing_is_sampled_once(config, new_data):
    data = new_data(900)
    event, found = sampled_events(config, data, QueryWindow(1.0, 200, 700))
    last: dict[str, list[str]] = {}
    expected = []
    for at, (user, item) in enumerate(zip(data.engagements.user, data.engagements.item, strict=True)):
        if 200 <= at < 700 and item not in last.get(user, [])[-10:]:
            expected.append(at)
        last.setdefault(user, []).append(item)
    assert event.tolist() == expected
    names = [name for sampled in found for name in sampled.target_ids]
    assert names == [data.engagements.item[at] for at in expected]


@pytest.mark.slow
def test_the_sample_depends_on_the_seed_and_on_no_configuration(config, new_data):
    data, window = new_data(900), QueryWindow(0.3, 200, 900)
    event, _ = sampled_events(config, data, window)
    model = config.model.model_copy(update={"history": 12, "nodes": 5})
    other = config.model_copy(update={"model": model, "index": IndexConfig(seed_after=10)})
    assert np.array_equal(sampled_events(other, data, window)[0], event)
    assert not np.array_equal(sampled_events(config.model_copy(update={"seed": 1}), data, window)[0], event)
    assert 100 < len(event) < 210


def test_age_is_the_time_since_an_item_was_first_seen(config, dataset_of):
    users, items = ["a", "b", "c", "d"], ["x", "y", "x", "z"]
    start = 1_700_000_000_000
    data = dataset_of(users, items, start + np.array([0, 1000, 5000, 9000]))
    data = replace(data, items=[])
    _, found = sampled_events(config, data, QueryWindow(1.0, 0, 4), batch=2)
    assert [sampled.age.tolist() for sampled in found] == [[0, 0], [5000, 0]]


def test_earlier_queries_change_no_measured_one(config, new_data):
    def sampled(earlier: int) -> list[int]:
        system, events = OfflineSystem(config, 0.0, 10**9), []
        sampler = QuerySampler(QueryWindow(0.3, 300, 500), config.seed, earlier)
        for batch in new_data(500).batches(50):
            queries, _ = sampler.sample(system.prepare(batch), system.learner, 20)
            events += queries.event.tolist()
        return events

    alone, both = sampled(0), sampled(40)
    assert [event for event in both if event >= 300] == alone
    assert alone[0] >= 300
    earlier = [event for event in both if event < 300]
    assert 15 < len(earlier) < 60
    assert earlier[0] >= 150
    assert both == sorted(both)
