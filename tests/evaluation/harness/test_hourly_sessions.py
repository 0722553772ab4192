"""The hourly session protocol: what is asked, and that nothing of the future is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.harness.hourly_sessions import MODES, evaluate_hourly
from hsnn.evaluation.metrics.hourly import hourly_figures
from hsnn.evaluation.queries.hourly_sessions import HOUR, hour_edges, session_targets
from tests.evaluation.planted_data import START, dataset_of_clicks, planted

MINUTE = 60_000


def clicks(*rows: tuple[str, str, float]):
    """A data set of clicks: user, item, minutes since the first."""
    users, items, minutes = zip(*rows, strict=True)
    return dataset_of_clicks(list(users), list(items), START + (np.array(minutes) * MINUTE).astype(np.int64))


def test_sessions_and_their_last_clicks():
    data = clicks(
        ("u", "a", 0),  # hour 0 is only learned
        ("u", "b", 1),
        ("u", "c", 61),  # after a long gap: another session, in hour 1
        ("v", "a", 62),
        ("u", "d", 70),
        ("v", "b", 119),  # a gap of 57 minutes: v's click at 62 was alone
        ("u", "e", 95),
        ("v", "c", 121),  # begins in hour 1, ends in hour 2
        ("w", "a", 185),
        ("w", "b", 186),
        ("w", "a", 187),  # repeats an item of the session: not asked
        ("x", "a", 300),
        ("x", "b", 301),  # hour 5
    )
    asked = session_targets(data, 4)
    assert asked.event.tolist() == [6, 7]
    assert asked.hour.tolist() == [1, 1]
    assert [before.tolist() for before in asked.clicks] == [[2, 4], [5]]
    assert session_targets(data, 5).event.tolist() == [6, 7, 12]
    assert hour_edges(data).tolist() == [2, 7, 8, 11]


def test_batches_end_at_the_edges():
    data = planted(1000)
    stops = [batch.positions["engagements", 0] for batch in data.batches(300, edges=[250, 700])]
    assert stops == [250, 550, 700, 1000]


@pytest.fixture
def browsing():
    """Sessions of four clicks within a cluster, a session every forty seconds, for six hours."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(540):
        items = rng.choice(20, 4, replace=False)
        rows += [
            (f"s{number}", f"c{number % 3}-{item}", number / 1.5 + step) for step, item in enumerate(items.tolist())
        ]
    return clicks(*sorted(rows, key=lambda row: row[2]))


@pytest.mark.slow
def test_sessions_are_predicted_by_the_hour(config, browsing):
    runs = evaluate_hourly(browsing, config, 64, hours=4, snapshot_events=512)
    assert tuple(runs) == MODES
    events = [np.sort(run.event).tolist() for run in runs.values()]
    assert events[0] == events[1]
    assert len(events[0]) == len(session_targets(browsing, 4))
    for run in runs.values():
        figures = hourly_figures(run)
        assert figures["hours"] == 4
        methods = figures["methods"]
        assert set(methods) == {"served", "covisitation", "popularity", "stan", "vsknn"}
        for name in ("covisitation", "stan", "vsknn"):  # 17 items of the cluster are left, of 57
            assert methods[name]["hr_at_20"] > 0.9 > methods["popularity"]["hr_at_20"] + 0.3, name
    sampled = evaluate_hourly(browsing, config, 64, hours=4, targets=50, snapshot_events=512)
    assert {len(run.event) for run in sampled.values()} == {50}


@pytest.mark.slow
def test_another_future_changes_nothing(config, browsing):
    """Frozen, an hour's own clicks change no answer of the hour; per event, those after the query's batch do not."""
    hour = (browsing.engagements.ts - browsing.engagements.ts[0]) // HOUR
    items = list(browsing.engagements.item)
    changed = np.flatnonzero(hour >= 3)
    first, third = session_targets(browsing, 5), 3
    # The items of every session that begins in hour 3 or later are those of another cluster.
    for index in changed.tolist():
        items[index] = f"c{(int(items[index][1]) + 1) % 3}{items[index][2:]}"
    other = replace(browsing, engagements=replace(browsing.engagements, item=items))
    runs = [evaluate_hourly(data, config, 64, hours=5, snapshot_events=512) for data in (browsing, other)]
    assert (first.hour == third).sum() > 50
    for mode in MODES:
        one, two = runs[0][mode], runs[1][mode]
        # Sessions that end before hour 3; those that begin in hour 2 and end later are other sessions now.
        before = np.isin(one.event, np.flatnonzero(hour < 3)) & (one.hour < 3)
        assert before.sum() > 100
        for column, ranks in one.ranks.items():
            same = two.ranks[column][np.isin(two.event, one.event[before]) & (two.hour < 3)]
            assert np.array_equal(ranks[before], same), (mode, column)
    assert not np.array_equal(runs[0][MODES[0]].ranks["served"], runs[1][MODES[0]].ranks["served"])


@pytest.mark.slow
def test_what_is_frozen_does_not_know_its_hour(config, browsing):
    """Items that are new in an hour are never found in it when frozen, and are per event."""
    hour = (browsing.engagements.ts - browsing.engagements.ts[0]) // HOUR
    items = [f"{item}-{number}" for item, number in zip(browsing.engagements.item, hour.tolist(), strict=True)]
    data = replace(dataset_of_clicks(list(browsing.engagements.user), items, browsing.engagements.ts))
    runs = evaluate_hourly(data, config, 64, hours=4, snapshot_events=512)
    within = {mode: hour[run.event] == run.hour for mode, run in runs.items()}  # the target is an item of the hour
    for column, ranks in runs[MODES[1]].ranks.items():
        assert np.isinf(ranks[within[MODES[1]]]).all(), column
    assert (runs[MODES[0]].ranks["vsknn:reciprocal-24h"][within[MODES[0]]] < 20).mean() > 0.5


def test_no_session_says_so(config):
    with pytest.raises(ProtocolError, match="no session of two clicks begins in hours 1 to 3 of planted"):
        evaluate_hourly(clicks(("u", "a", 0), ("v", "b", 70)), config, hours=3)
