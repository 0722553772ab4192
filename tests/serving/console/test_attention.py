from __future__ import annotations

import re

import pytest

from hsnn.indexer.jobs.history import JobRun, JobState, JobView
from hsnn.indexer.store.publish_hold import PublishHold
from hsnn.serving.console.attention import ServerState, Severity, notices
from hsnn.serving.console.progress import LoopState
from hsnn.serving.console.request_meter import Rates
from tests.paths import ROOT

NOTHING = Rates(*(None,) * len(Rates._fields))
WELL = LoopState(
    {
        "trained": 1000,
        "lag_seconds": 1.0,
        "measured": 1000,
        "recent": {"recall_at_20": {"served": 0.3, "popularity": 0.1}},
    },
    trainer="host/1",
    scheduler="host/2",
    current=3,
    jobs=[],
    hold=None,
)
SERVER = ServerState(version=3, items=10, ready=True, rates=NOTHING)


def with_progress(**fields) -> LoopState:
    return WELL._replace(progress=WELL.progress | fields)


def with_job(**fields) -> LoopState:
    last = JobRun(started=0, seconds=1.0, outcome=fields.pop("outcome", "done"), who="swept", detail="disk full")
    job = {"name": "refresh", "state": JobState(every=1.0, last=last), "runs": 1, "paused": False} | fields
    return WELL._replace(jobs=[JobView(**job)])


def test_a_loop_that_is_well_needs_nothing():
    assert notices(WELL, SERVER) == []


WRONG = [
    (WELL._replace(trainer=None), SERVER, Severity.BAD, "No trainer"),
    (WELL._replace(scheduler=None), SERVER, Severity.BAD, "No scheduler"),
    (WELL._replace(current=4), SERVER, Severity.WARN, "answers from version 3, and version 4"),
    (WELL, SERVER._replace(version=0), Severity.WARN, "no version of the index yet"),
    (
        WELL._replace(hold=PublishHold(reason="bad model", at=1, by="me")),
        SERVER,
        Severity.WARN,
        "held by me: bad model",
    ),
    (with_progress(held="the loss is off a cliff"), SERVER, Severity.BAD, "off a cliff"),
    (with_progress(lag_seconds=75.0, lag_records=9), SERVER, Severity.WARN, "75 s (9 records) behind"),
    (with_progress(dead_lettered=100), SERVER, Severity.WARN, "100 events became dead letters, 9.1%"),
    (with_progress(dropped={"duplicate": 60, "no_row": 40}), SERVER, Severity.WARN, "`duplicate` (60)"),
    (with_progress(lost={"engagements": 7}), SERVER, Severity.BAD, "7 records were gone"),
    (with_progress(unmeasured=2000), SERVER, Severity.WARN, "only 1,000 were answered in time"),
    (
        with_progress(recent={"recall_at_20": {"served": 0.1, "popularity": 0.2, "covisitation": 0.3}}),
        SERVER,
        Severity.WARN,
        "hold 10.0% of what people choose next, and covisitation alone 30.0%",
    ),
    (with_job(outcome="failed"), SERVER, Severity.BAD, "refresh failed: disk full"),
    (with_job(paused=True), SERVER, Severity.WARN, "refresh is paused"),
    (with_job(state=JobState(every=1.0, overrun_since=1)), SERVER, Severity.BAD, "over its time limit"),
    (
        WELL,
        SERVER._replace(rates=NOTHING._replace(errors_per_second=0.5)),
        Severity.BAD,
        "0.5 requests per second fail",
    ),
    (WELL, SERVER._replace(rates=NOTHING._replace(p99_ms=300.0)), Severity.WARN, "more than 300 ms"),
]


@pytest.mark.parametrize(("state", "server", "severity", "text"), WRONG)
def test_what_is_wrong_is_said(state, server, severity, text):
    [notice] = notices(state, server)
    assert notice.severity == severity
    assert text in notice.text
    assert notice.todo


def test_the_worst_comes_first():
    found = notices(WELL._replace(trainer=None, current=4), SERVER)
    assert [notice.severity for notice in found] == [Severity.BAD, Severity.WARN]


def test_a_few_queries_are_not_judged():
    assert (
        notices(with_progress(measured=50, recent={"recall_at_20": {"served": 0.1, "popularity": 0.2}}), SERVER) == []
    )


def test_every_section_that_is_named_is_one_of_the_operations_page():
    page = (ROOT / "docs" / "operations.md").read_text()
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }
    named = {notice.section for state, server, _, _ in WRONG for notice in notices(state, server)}
    assert named
    assert named <= anchors
