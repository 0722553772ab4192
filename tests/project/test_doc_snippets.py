"""What the pages of the documentation show runs: snippets, settings, requests, queries."""

from __future__ import annotations

import json
import re
import shlex
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.paths import ROOT
from tests.project.pages import HOW_TO, blocks, text


@pytest.mark.slow
def test_the_snippet_that_sends_events_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run_snippet("EmbeddedRedis", {})
    assert "1 ['alien']" in capsys.readouterr().out


@pytest.mark.slow
def test_the_snippet_that_asks_runs(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_snippet("hsnn.Client", {"http://127.0.0.1:8080": server})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 ['")
    assert "of 6" in first
    assert second.startswith("['")
    assert "dune" not in second


@pytest.mark.slow
@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_the_snippets_of_the_how_to_pages_run(page: Path, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks(page, "python"):
        exec(compile(code.replace("http://127.0.0.1:8080", server), page.name, "exec"), {"__name__": "snippet"})
        said = capsys.readouterr().out
        assert set(re.findall(r"'([\w-]+)'", said)) & set(FILMS), f"{page.name} prints no film: {said}"
    asked = [
        line
        for code in blocks(page, "sh")
        for line in code.splitlines()
        if re.search("v1/(retrieve|users/user-1)", line)
    ]
    for line in asked:
        _, _, url, *data = shlex.split(line)
        url = url.replace("http://127.0.0.1:8080", server)
        answer = httpx.post(url, content=data[1]) if data else httpx.get(url)
        assert answer.status_code == httpx.codes.OK, f"{line}: {answer.text}"
        assert answer.json().get("items") or answer.json().get("history"), line


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_the_settings_of_the_how_to_pages_are_accepted(page: Path) -> None:
    from hsnn.config.schema import Config

    for code in blocks(page, "toml"):
        Config.model_validate(tomllib.loads(code))


def test_the_query_that_judges_an_experiment_runs(tmp_path: Path) -> None:
    import duckdb

    answers = [
        {"recommendation_id": f"{arm}-{number}", "arm": arm, "user": f"{arm}-{number % 2}", "shadow": False}
        for arm in ("narrow", "wide")
        for number in range(4)
    ]
    unseen = {"recommendation_id": "", "arm": "wide", "user": "narrow-0", "shadow": True}
    # of the first arm one user acts upon one of two answers, of the second one upon both, and once more
    events = [{"recommendation_id": name} for name in ("narrow-0", "wide-1", "wide-3", "wide-3")]
    for name, rows in (("answers", [*answers, unseen]), ("events", events)):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (code,) = blocks(ROOT / "docs" / "how-to" / "ab-tests.md", "sql")
    found = duckdb.sql(re.sub(r"'(\w+\.jsonl)'", rf"'{tmp_path}/\1'", code)).fetchall()
    assert found == [("narrow", 2, 0.25, 0.25), ("wide", 2, 0.75, pytest.approx(0.75))]


def test_every_how_to_page_has_something_to_run_and_is_short() -> None:
    assert {page.stem for page in HOW_TO} >= {
        "sessions",
        "expiry",
        "re-purchases",
        "cold-start",
        "filters",
        "ab-tests",
        "scaling",
    }
    for page in HOW_TO:
        assert blocks(page, "python") or blocks(page, "sh"), page.name
        assert len(re.sub(r"```.*?```", "", text(page), flags=re.DOTALL).split()) <= 260, page.name


@pytest.mark.slow
def test_the_curl_line_that_asks_runs(server: str) -> None:
    line = next(
        line for code in blocks(ROOT / "README.md", "sh") for line in code.splitlines() if "v1/retrieve" in line
    )
    found = re.fullmatch(r"curl -s http://127\.0\.0\.1:8080(\S+) -d '(.*)'", line)
    assert found is not None
    answer = httpx.post(server + found[1], content=found[2])
    assert answer.status_code == httpx.codes.OK, answer.text
    assert set(answer.json()["items"]) & {"alien", "the-thing"} == set(answer.json()["items"]) != set()
    from hsnn.streaming.datasets.ml_100k import GENRES

    # the demo's films must have these genres, or the line returns nothing there
    assert set(json.loads(found[2])["filters"]["features"]["genres"]) <= set(GENRES)


def test_the_curl_lines_that_send_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    from hsnn.monitoring.health import Health
    from hsnn.serving.api.access import Access
    from hsnn.serving.api.app import Api, create_app
    from hsnn.serving.api.ingest import IngestApi
    from hsnn.serving.config import ServingConfig
    from hsnn.serving.ingest.appender import EventAppender
    from hsnn.serving.metrics import ServingMetrics
    from hsnn.serving.mirror.mirror import Mirror
    from hsnn.streaming.config import StreamingConfig
    from hsnn.streaming.log.memory import MemoryLog

    (tmp_path / "events.jsonl").write_text('{"type": "user", "id": "ann"}\n{"type": "item", "id": "a"}\n')
    monkeypatch.chdir(tmp_path)
    config, log, streaming = ServingConfig(), MemoryLog(), StreamingConfig()
    metrics, access = ServingMetrics(), Access({})
    ingest = IngestApi(EventAppender(lambda: log, streaming, metrics), access, config, streaming)
    client = TestClient(create_app(Api(Mirror(), config, metrics, access), metrics, Health("version"), ingest))
    pages = [ROOT / "README.md", ROOT / "docs" / "events.md", *HOW_TO]
    lines = [line for page in pages for code in blocks(page, "sh") for line in code.splitlines() if "curl" in line]
    sent = [shlex.split(line) for line in lines if "v1/retrieve" not in line and "v1/users/user-1" not in line]
    assert len(sent) == 10
    for _, _, *words in sent:
        options = dict(zip(words[1::2], words[2::2], strict=True)) if words[0].startswith("http") else {}
        if words[0] == "-X":
            method, url, options = words[1], words[2], dict(zip(words[3::2], words[4::2], strict=True))
        else:
            method, url = "POST", words[0]
        body = options.get("-d", "")
        if "--data-binary" in options:
            body = Path(options["--data-binary"][1:]).read_text()
        headers = dict([options["-H"].split(": ")]) if "-H" in options else {}
        answer = client.request(method, url.replace("http://127.0.0.1:8080", ""), content=body, headers=headers)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    ingest.close()
    assert len(log.partitions(streaming.items_topic)) == streaming.partitions


@pytest.mark.slow
def test_the_snippet_that_judges_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ratings(tmp_path / "ml-100k")
    monkeypatch.setenv("HSNN_DATA", str(tmp_path))
    run_snippet("hsnn.evaluate", {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert all(re.match(r"\w+ +recall@50 [01]\.\d{3}, \d+ items scored per request", line) for line in lines), lines


@pytest.mark.slow
def test_the_snippets_of_the_contributing_guide_run() -> None:
    names: dict[str, Any] = {"__name__": "snippet"}
    for code in blocks(ROOT / "CONTRIBUTING.md", "python"):
        exec(compile(code, "CONTRIBUTING.md", "exec"), names)

    from hsnn.monitoring.drift import Detector
    from hsnn.trainer.config.model import TrainerConfig
    from hsnn.trainer.features import extra_tables
    from hsnn.trainer.training.learner import Learner

    try:
        learner = Learner(TrainerConfig())
    finally:
        extra_tables.unregister("clicks")
    assert any(name.startswith("clicks.") for name in learner.state_dict()[0])

    limit: Detector[float] = names["LossLimit"](8.0)
    assert limit.update(7.5, 1) is None
    alarm = limit.update(9.5, 2)
    assert alarm is not None
    assert (alarm.kind, alarm.ts, alarm.value) == ("loss_limit", 2, 9.5)
    limit.load_state_dict(limit.state_dict())
    assert not names["FrozenNodes"](TrainerConfig()).task_loss_moves_nodes


def run_snippet(name: str, changes: dict[str, str]) -> None:
    """Run the Python block of README or events page that holds `name`."""
    pages = [ROOT / "README.md", ROOT / "docs" / "events.md"]
    (code,) = [code for page in pages for code in blocks(page, "python") if name in code]
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "README.md", "exec"), {"__name__": "snippet"})


FILMS = {
    "alien": "Horror",
    "the-thing": "Horror",
    "dune": "Sci-Fi",
    "blade-runner": "Sci-Fi",
    "heat": "Crime",
    "ronin": "Crime",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server whose mirror has learned a few films."""
    import uvicorn

    from hsnn.serving.api.app import Api, create_app
    from hsnn.serving.config import ServingConfig
    from hsnn.serving.metrics import ServingMetrics

    metrics = ServingMetrics()
    app = create_app(Api(learned_mirror(), ServingConfig(), metrics), metrics, healthy())
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join()


def healthy() -> Any:
    from hsnn.monitoring.health import Health

    return Health("version")


def learned_mirror() -> Any:
    from hsnn.evaluation.harness.offline_system import OfflineSystem
    from hsnn.streaming.schema.batch import Batch, Engagements
    from hsnn.streaming.schema.events import Item
    from hsnn.trainer.config.index import IndexConfig
    from hsnn.trainer.config.model import ModelConfig, TrainerConfig

    model = ModelConfig(dim=8, hidden=16, buckets=256, nodes=2, beam=2, budget=10)
    config = TrainerConfig(model=model, index=IndexConfig(seed_after=64))
    system = OfflineSystem(config, snapshot_every=1.0, snapshot_events=64)
    rng, start = np.random.default_rng(0), 1_700_000_000_000
    films = [
        Item(id=name, ts=start, features={"title": name, "genres": [genre], "price": len(name)})
        for name, genre in FILMS.items()
    ]
    for number in range(6):
        ts = start + 1000 * (64 * number + np.arange(64))
        names = rng.choice(list(FILMS), 64).tolist()
        users = [f"user-{row}" for row in rng.integers(20, size=64)]
        events = Engagements(ts, ts, users, names, ["view"] * 64, np.full(64, np.nan, np.float32), [None] * 64)
        arrived = films if number == 0 else []
        batch = Batch(events, {}, int(ts[-1]), items=arrived, item_sent_at=[start] * len(arrived))
        system.learn(system.prepare(batch))
    system.versions = 0
    system._publish()
    return system.mirror


def write_ratings(folder: Path) -> None:
    """A small world in the format of ml-100k: two tastes, 4,000 ratings."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    users = rng.integers(1, 61, size=4000)
    films = 2 * rng.integers(0, 40, size=4000) + 1 + users % 2
    rows = zip(users.tolist(), films.tolist(), range(4000), strict=True)
    lines = [f"{user}\t{film}\t{3 + at % 3}\t{880_000_000 + 60 * at}" for user, film, at in rows]
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    genres = "|".join(["0"] * 18 + ["1"])
    shown = [f"{film}|Film {film} (1990)|01-Jan-1990|||{genres}" for film in range(1, 81)]
    (folder / "u.item").write_text("\n".join(shown) + "\n", "latin-1")
    people = [f"{user}|{20 + user}|F|writer|00000" for user in range(1, 61)]
    (folder / "u.user").write_text("\n".join(people) + "\n")
