"""Offline evaluation: the same kernels, no leakage, the same figures every time."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.errors import NothingMeasuredError
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.prequential import evaluate
from hsnn.evaluation.metrics.method_metrics import columns
from hsnn.evaluation.metrics.ranks import MISS
from hsnn.evaluation.queries.query_sampling import RECENT_ITEMS
from hsnn.evaluation.report.summary import across, sentences, summary, table

pytestmark = pytest.mark.slow

COUNTING = {"covisitation", "popularity", "stan", "vsknn"}
METHODS = {"served", "exhaustive", "frozen_1h", "engine", *COUNTING, "popularity_filter", "shuffled_index"}


def test_the_planted_clusters_are_learned_and_served(run):
    figures = summary(run)
    served = figures["methods"]["served"]["recall_at_20"]
    assert served > 0.7
    assert served > figures["methods"]["popularity"]["recall_at_20"] + 0.2
    assert served > figures["methods"]["shuffled_index"]["recall_at_20"] + 0.2
    for baseline in ("popularity", "popularity_filter", "shuffled_index"):
        difference, error = figures["paired"]["recall_at_20"][baseline]
        assert difference > 2 * error > 0


def test_whole_nodes_find_what_merge_order_finds(run):
    engine, served = (summary(run)["methods"][name] for name in ("engine", "served"))
    assert engine["recall_at_20"] == pytest.approx(served["recall_at_20"], abs=0.02)
    assert engine["recall_at_50"] == engine["recall_at_200"], "no more items are asked for"
    assert 0 < engine["dots_share"] <= 1


def test_the_summary_has_the_keys_that_scripts_rely_on(run):
    figures = summary(run)
    assert {"methods", "popularity_half_life_hours", "queries", "events_per_second"} <= figures.keys()
    assert set(figures["methods"]) == METHODS
    for method in figures["methods"].values():
        assert {"recall_at_20", "recall_at_50", "scored", "scored_share"} <= method.keys()
        assert 0 <= method["recall_at_20"] <= method["recall_at_50"] <= 1
        assert 0 <= method["scored_share"] <= 1
    assert figures["queries"] == len(run.scored) > 300
    assert figures["methods"]["served"]["scored"] <= 25
    assert figures["methods"]["popularity_filter"]["scored"] == 25
    assert figures["methods"]["exhaustive"]["scored_share"] == 1.0
    assert figures["events"] == 6000
    assert figures["index"]["nodes"] == 12
    assert figures["index"]["items"] == run.sizes.sum()


def test_settings_are_chosen_before_the_queries_and_the_best_is_known_afterwards(run):
    figures = summary(run)
    assert set(run.chosen) == {*COUNTING, "popularity_filter", "shuffled_index"}
    for method in ("popularity", "covisitation", "stan"):
        for cut in (20, 50):
            recalls = {name: (run.ranks[name] < cut).mean() for name in columns(run, method)}
            found = figures["methods"][method]
            assert found[f"recall_at_{cut}"] == recalls[run.chosen[method]]
            assert found[f"hindsight_recall_at_{cut}"] == max(recalls.values()) >= found[f"recall_at_{cut}"]


def test_figures_are_shown(run, capsys):
    from rich.console import Console

    figures = summary(run)
    console = Console(width=120, force_terminal=False)
    console.print(table(figures, "a title"))
    shown = capsys.readouterr().out
    assert "a title" in shown
    for name in METHODS:
        assert name.replace("_", " ") in shown
    assert f"{100 * figures['methods']['served']['recall_at_20']:.2f}" in shown
    said = sentences(figures)
    assert len(said) == len(METHODS) - 1
    assert any(sentence.startswith("served recall@50 is above popularity: +") for sentence in said)


def test_too_short_a_stream_says_so(config, new_data):
    with pytest.raises(NothingMeasuredError, match="no query was asked in 200 events, 0 versions"):
        summary(evaluate(new_data(200), config, 64, query_share=0.0))


def test_counting_answers_before_there_is_an_index(config, new_data):
    """The served path of a young stream finds nothing: the rows are there all the same."""
    run = evaluate(new_data(500), config, 64, query_share=0.5)
    figures = summary(run)
    assert run.versions == 0
    assert len(run.ranks["served"]) == len(run.ranks["popularity:24.0"]) > 50
    assert figures["methods"]["served"]["recall_at_50"] == figures["methods"]["popularity_filter"]["recall_at_50"] == 0
    for name in COUNTING:
        assert figures["methods"][name]["recall_at_50"] > 0.3, name
    assert {one["method"] for one in across([run])["shortfalls"]["behind"]} == COUNTING


def test_with_full_beam_and_budget_served_is_exhaustive(config, new_data):
    """Beam search that opens everything and scores everything finds what scoring everything finds."""
    model = config.model.model_copy(update={"beam": 12, "budget": 1000})
    run = evaluate(new_data(3000), config.model_copy(update={"model": model}), 64, query_share=0.5, snapshot_events=512)
    served, exhaustive = run.ranks["served"], run.ranks["exhaustive"]
    assert len(served) > 300
    found = served < MISS
    assert found.tolist() == (exhaustive < MISS).tolist()
    np.testing.assert_allclose(served[found], exhaustive[found], atol=0.5)  # ties: in order, and at half
    assert (run.ranks["shuffled_index"] == exhaustive).all()
    assert all((run.ranks[f"popularity_filter:{hours}"] == exhaustive).all() for hours in (0.1, "inf"))


def test_the_same_run_gives_the_same_figures(config, new_data):
    runs = [evaluate(new_data(1500), config, 64, query_share=0.5, snapshot_events=512) for _ in range(2)]
    one, two = (
        {**summary(run), "costs_seconds": 0, "seconds": 0, "events_per_second": 0, "judging_seconds": 0} for run in runs
    )
    assert one == two
    assert all(np.array_equal(runs[0].ranks[name], runs[1].ranks[name]) for name in runs[0].ranks)
    other = evaluate(new_data(1500), config.model_copy(update={"seed": 5}), 64, query_share=0.5, snapshot_events=512)
    assert not np.array_equal(other.ranks["served"], runs[0].ranks["served"])


def test_an_item_cannot_be_found_before_its_first_event(config, new_data, dataset_of):
    """Every second click of the second half is the first of its item: a miss for every method; and no other is."""
    data = new_data(1900)
    users, items = list(data.engagements.user), list(data.engagements.item)
    for at in range(1000, 1900, 2):
        items[at] = f"c0-new{at}"
    run = evaluate(dataset_of(users, items, data.engagements.ts), config, 64, query_share=1.0, snapshot_events=512)
    # what is asked: clicks of the second half that do not repeat one of the user's last items
    last: dict[str, list[str]] = {}
    new = []
    for at, (user, item) in enumerate(zip(users, items, strict=True)):
        if at >= 950 and item not in last.get(user, [])[-RECENT_ITEMS:]:
            new.append("new" in item)
        last.setdefault(user, []).append(item)
    new = np.array(new)
    assert len(new) == len(run.scored)
    for name, ranks in run.ranks.items():
        assert (ranks[new] == MISS).all(), name
    for name in ("exhaustive", "popularity:1.0"):
        assert (run.ranks[name][~new] < MISS).mean() > 0.98, name  # the others are first clicks of rare items


def test_nothing_of_a_batch_is_known_before_its_queries_are_answered(config, new_data, dataset_of):
    """The future does not matter: another second half changes no rank of the first queries."""
    data, run = new_data(3000), {}
    for kind in ("as it is", "another future"):
        users = list(data.engagements.user)
        if kind == "another future":
            users[2048:] = users[2048:][::-1]
        clicks = data.engagements
        changed = type(clicks)(
            clicks.ts, clicks.sent_at, users, clicks.item, clicks.action, clicks.value, clicks.context
        )
        from dataclasses import replace

        run[kind] = evaluate(replace(data, engagements=changed), config, 64, query_share=0.5, snapshot_events=512)
    one, other = run["as it is"], run["another future"]
    before = int((one.event < 2048).sum())
    assert before > 100
    assert np.array_equal(one.event[:before], other.event[:before])
    for name in one.ranks:
        assert np.array_equal(one.ranks[name][:before], other.ranks[name][:before]), name
    assert not np.array_equal(run["as it is"].ranks["served"], run["another future"].ranks["served"])
    assert one.chosen == other.chosen


def test_items_come_and_go(config, new_data):
    data = new_data(4000, drifting=True)
    config = config.model_copy(update={"expire_after_idle": 400.0})
    run = evaluate(data, config, 64, query_share=0.1, snapshot_events=512)
    assert run.arrived > 100
    assert run.expired > 100
    assert run.versions > 3
    assert run.corpus.max() < len(set(data.engagements.item)) - 100
    assert run.sizes.sum() <= run.corpus.max() + 40


def test_a_catalogue_that_outgrows_its_arrays_within_a_batch(config, dataset_of):
    """A user's history may hold an item that no mirror has room for yet."""
    count = 1600
    users = [f"u{at // 2 % 40}" for at in range(count)]
    items = [f"c{at % 6}-{at}" for at in range(count)]  # every click a new item; the mirror has room for 1,400 of them
    data = dataset_of(users, items, 1_700_000_000_000 + 1000 * np.arange(1, count + 1))
    run = evaluate(data, config, 100, query_share=1.0, query_from=0.8, snapshot_events=10**9)
    assert (run.ranks["served"] == MISS).all()
    assert run.versions <= 2


def test_progress_is_reported(config, new_data):
    seen = []
    evaluate(new_data(700), config, 64, report=lambda done, total: seen.append((done, total)))
    assert seen[0] == (64, 700)
    assert seen[-1] == (700, 700)


def test_versions_wait_for_both_time_and_events(config, new_data):
    def versions(**schedule) -> list[int]:
        system, found = OfflineSystem(config, **schedule), []
        for batch in new_data(3000).batches(100):
            if system.learn(system.prepare(batch))[3]:
                found.append(system.learner.events)
        return found

    events = versions(snapshot_every=0.0, snapshot_events=500)
    assert events[0] == 700  # nodes are seeded after 512 events, in the batch that begins after 600
    assert np.diff(events).tolist() == [500] * (len(events) - 1)
    assert np.diff(versions(snapshot_every=900.0, snapshot_events=100)).tolist() == [900, 900]


def test_the_mirror_holds_what_the_learner_knows(config, new_data):
    system = OfflineSystem(config, 0.0, 500)
    for batch in new_data(2000).batches(64):
        system.learn(system.prepare(batch))
    learner, state = system.learner, system.mirror.state
    rows = np.arange(len(learner.items))
    assert state.states.values[rows].tobytes() == learner.states.values[rows].tobytes()
    assert state.items.ids.ids == learner.items.table.ids
    assert state.alive()[rows].tolist() == learner.alive(rows).tolist()
    assert system.sizes().tolist() == state.index.leaves.sizes.tolist()
