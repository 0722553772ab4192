"""The screen and the JSON, rendered from fixed numbers."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hsnn.demo import dashboard
from hsnn.demo.checker import CheckResult, Violation
from hsnn.demo.figures import Figures
from hsnn.demo.outcome import find_problems, outcome
from hsnn.demo.sample_users import SampleUser


def shown(renderable: object, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_panel_shows_every_figure(figures: Figures) -> None:
    text = shown(dashboard.render(figures))
    for part in (
        "ml-100k",
        "log: redis",
        "done",
        "100,000 of 100,000",
        "99,990",
        "2,100",
        "1,234 records · 0.51 s",
        "5.123",
        "2,500x",
        "17.10%",
        "8.00%",
        "18.10%",
        "32.00%",
        "18.00%",
        "1,682",
        "855 · 17",
        "256",
        "3.25",
        "0.51 s",
        "server says 0.36 s",
        "server says 1.70 s",
        "10.58% of the items",
        "2,900",
        "3 late",
        "the loss rose",
        "loss_drift refresh done version 41",
    ):
        assert part in text, part


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_panel_keeps_its_height_and_width(figures: Figures, width: int) -> None:
    full, empty = shown(dashboard.render(figures), width), shown(dashboard.render(Figures()), width)
    assert len(full.splitlines()) == len(empty.splitlines()) <= 24
    assert max(map(len, full.splitlines())) == width


def test_a_line_for_output_that_is_no_terminal(figures: Figures) -> None:
    line = dashboard.line(figures)
    assert "\n" not in line
    for part in ("99,990 learned", "recall@20 17.10% (popularity 8.00%)", "17 expired", "1 alarms"):
        assert part in line
    assert "recall@20 - (popularity -)" in dashboard.line(Figures())


def test_the_json_has_the_shape_that_scripts_rely_on(figures: Figures) -> None:
    found = outcome(figures, CheckResult(answers=10, items=200), in_log=100_000)
    expected = {
        "events": {"produced": 100_000, "trained": 99_990, "dead_lettered": 0, "dropped": 10, "pending": 0},
        "events_per_second": 2000.0,
        "replay_speed": 2000.0,
        "queries": 2_900,
        "recall_at_20": {"served": 0.171, "popularity": 0.08},
        "recall_at_50": {"served": 0.3, "popularity": 0.17},
        "scored_share": 0.1058,
        "freshness_seconds": {"p50": 0.505, "p99": 0.99},
        "expired_returned": 0,
        "index": {"items": 1_682, "new": 855, "expired": 17, "nodes": 256, "max_over_mean": 3.25, "dead": 2},
        "version": 40,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["answers_checked"] == 10
    assert found["probes"] == {"answered": 99, "unanswered": 1}


def test_the_json_of_a_run_that_measured_nothing_says_null() -> None:
    found = outcome(Figures(), CheckResult(), in_log=0)
    assert found["recall_at_20"] == {"served": None, "popularity": None}
    assert found["freshness_seconds"] == {"p50": None, "p99": None}
    assert "0 HTTP probes" in shown(dashboard.summary(found))
    assert "nothing can be judged" in shown(dashboard.summary(found))


def test_a_short_run_says_so(figures: Figures) -> None:
    found = outcome(figures, CheckResult(), in_log=100_000)
    assert "Too few" not in shown(dashboard.summary(found))
    assert "Too few queries to judge: with 400" in shown(dashboard.summary({**found, "queries": 400}))


def test_a_good_run_has_nothing_to_complain_of(figures: Figures) -> None:
    assert find_problems(figures, CheckResult(), in_log=100_000) == []


def test_whatever_is_lost_or_wrong_is_said(figures: Figures) -> None:
    figures.trained -= 5
    assert (
        "do not add up: 100,000 were produced, 99,995 are accounted for"
        in find_problems(figures, CheckResult(), 100_000)[0]
    )
    figures.pending = 5
    assert find_problems(figures, CheckResult(), 100_000) == ["5 events were sent but never read by the trainer"]
    figures.waiting = 5
    assert find_problems(figures, CheckResult(), 100_000) == ["5 impressions still wait for labels"]
    figures.waiting = 0
    figures.trained, figures.pending, figures.dead_lettered = 99_989, 0, 1
    assert "1 events of the data set went to the dead letters" in find_problems(figures, CheckResult(), 100_000)
    figures.trained, figures.dead_lettered = 99_990, 0
    assert "the log holds 99,999 events" in find_problems(figures, CheckResult(), 99_999)[0]
    figures.index.version = 0
    assert "no version of the index was ever served" in find_problems(figures, CheckResult(), 100_000)[0]
    figures.index.version = 1
    verdict = CheckResult(violations=[Violation("old", 7, "u9", 3)])
    assert "1 expired items were returned, the first one old to user u9" in find_problems(figures, verdict, 100_000)[0]


def test_the_tables_at_the_end(figures: Figures) -> None:
    text = shown(dashboard.summary(outcome(figures, CheckResult(answers=10, items=200), in_log=100_000)), 120)
    assert "100,000 produced = 99,990 trained + 0 dead-lettered + 10 dropped + 0 pending" in text
    assert "0 in 10 answers of 200 items" in text
    assert "2,000x" in text
    table = shown(dashboard.users_table([SampleUser("7", ["Fargo [1996]"], ["Heat (1995)", "Alien (1979)"])]), 120)
    for part in ("Fargo [1996]", "1. Heat (1995)", "2. Alien (1979)"):
        assert part in table
