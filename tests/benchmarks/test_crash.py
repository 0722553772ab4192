"""The crash harness, in small: it passes on the program as it is, and fails on one that is broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.crash import sandbox
from benchmarks.crash.__main__ import main
from benchmarks.crash.child import FinalCounts
from benchmarks.crash.log_filler import LogContents
from benchmarks.crash.plan import KINDS, min_hits, plan
from benchmarks.crash.runs import CrashRun
from benchmarks.crash.verdict import differences
from hsnn.monitoring.process.failpoints import FAILPOINTS

EVENTS = 2500


SMALL = {
    "model": {"cross": True, "dim": 8, "state_dim": 4, "hidden": 16, "token_dim": 4, "buckets": 256, "nodes": 16},
    "uniform_negatives": 64,
}


@pytest.fixture
def clicks(tmp_path, monkeypatch) -> str:
    """Planted clicks in the format of globo-news, for a small model: users of one kind click articles of that kind."""
    monkeypatch.setattr(sandbox, "TRAINER", SMALL)
    rng = np.random.default_rng(0)
    users = rng.integers(0, 90, EVENTS)
    articles = 4 * np.minimum(rng.geometric(0.1, EVENTS) - 1, 39) + users % 4
    facts = ("environment", "deviceGroup", "os", "country", "region", "referrer_type")
    columns = {f"click_{name}": pa.array(rng.integers(0, 3, EVENTS)) for name in facts}
    columns |= {"user_id": pa.array(users), "click_article_id": pa.array(articles)}
    columns["click_timestamp"] = pa.array(1_500_000_000_000 + 20_000 * np.arange(EVENTS))
    (tmp_path / "globo").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "globo" / "clicks.parquet")
    return f"globo-news:{tmp_path / 'globo'}"


def harness(clicks: str, file: Path, *more: str) -> tuple[int, dict]:
    status = main(["--data", clicks, "--events", str(EVENTS), "--json", str(file), *more])
    return status, next(iter(json.loads(file.read_text())["logs"].values()))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("log", ["redis", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_killed_in_every_phase_it_ends_as_if_nobody_had_touched_it(log, clicks, tmp_path, request):
    if log == "kafka":
        request.getfixturevalue("kafka_tools")
    status, found = harness(clicks, tmp_path / "found.json", "--log", log, "--kills", "8")
    assert (status, found["differences"]) == (0, [])
    assert found["hits"] == dict.fromkeys(KINDS, 1)
    assert found["digest"] == found["undisturbed_digest"] != ""
    assert found["account"] == {"trained": EVENTS, "dead_lettered": 5, "dropped": 4, "pending": 0}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "named"), [("generator", "learner.steps"), ("position", "killed run: 2509 produced is not")]
)
def test_a_planted_fault_is_found(fault, named, clicks, tmp_path):
    status, found = harness(clicks, tmp_path / "found.json", "--log", "redis", "--kills", "4", "--fault", fault)
    assert status == 1
    assert found["digest"] != found["undisturbed_digest"]
    assert any(named in line for line in found["differences"])


def test_every_phase_has_its_share_of_the_kills():
    kills = plan(200, 200_000, 256, seed=7)
    assert [kill.phase for kill in kills] != [kill.phase for kill in plan(200, 200_000, 256, seed=8)]
    assert all(sum(kill.phase == phase for kill in kills) >= min_hits(200) == 10 for phase in FAILPOINTS)
    assert max(kill.after for kill in kills) < 200_000 - 20 * 256
    assert any(kill.kept_share < 1 for kill in kills)
    assert all(kill.phase == "write" for kill in kills if kill.kept_share < 1)


ENDED = FinalCounts(trained=90, dead_lettered=6, dropped=4, pending=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parts": ["array a <f4[2] 1", "value learner.steps 9"]}, "the digests differ, in learner.steps"),
        ({"parts": []}, "there is no checkpoint at the end"),
        ({"ended": ENDED._replace(trained=91)}, "100 produced is not 91 + 6 + 4 + 0 = 101"),
        ({"ended": ENDED._replace(trained=89, pending=1)}, "90 events, 6 broken, 4 twice became"),
        ({"ended": None}, "did not reach the end"),
        ({"dead_letters": 7}, "7 dead letters are in the log, 6 records are broken"),
        ({"hits": {"step": 8}}, "poll was hit 0 times, asked for 1"),
        ({"hits": dict.fromkeys(FAILPOINTS, 1)}, "7 kills were done, asked for 8"),
        ({"broken": ["a snapshot of nothing is announced"]}, "a snapshot of nothing is announced"),
    ],
)
def test_the_verdict_names_what_is_wrong(change, said):
    lines = ["array a <f4[2] 1", "value learner.steps 2"]

    def run(**changes):
        fields = {"ended": ENDED, "parts": lines, "dead_letters": 6, "hits": dict.fromkeys(KINDS, 1)}
        made = CrashRun(**{**fields, **changes})
        made.hits = type(CrashRun().hits)(made.hits)
        return made

    calm, filled = (
        run(parts=[] if change.get("parts") == [] else lines),
        LogContents(produced=100, broken=6, repeated=4),
    )
    assert differences(run(), run(), filled, 8) == []
    assert any(said in line for line in differences(run(**change), calm, filled, 8))
