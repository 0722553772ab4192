"""The page on HTTP: its examples are run, and its tables name what there is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import hsnn
from hsnn.monitoring.health import Health
from hsnn.serving import schema
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.problems import STATUS, problem_of
from hsnn.serving.config import ServingConfig
from hsnn.serving.filter_schema import Condition, Filters
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.follower import VERSION, WARM

PAGE = (Path(__file__).parents[3] / "docs" / "http.md").read_text("utf-8")
FILMS = ("alien", "psycho", "scream", "airplane", "clue", "heat")


@pytest.fixture
def films(fresh_plant) -> TestClient:
    """A server with six films, of which Ann has seen one."""
    plant, mirror, metrics = fresh_plant, Mirror(), ServingMetrics()
    for number, name in enumerate(FILMS):
        genre = "Horror" if number < 3 else "Comedy" if number < 5 else "Thriller"
        plant.add(name, number, title=name.title(), genres=[genre], year=1985 + 3 * number)
    plant.engage("ann", "heat")
    plant.load(mirror)
    return TestClient(create_app(Api(mirror, ServingConfig(beam=6), metrics), metrics, Health(VERSION, WARM)))


def test_the_curl_lines_run_and_return_something(films):
    answers = []
    for line in re.findall(r"^curl.*$", PAGE, re.MULTILINE):
        _, _, url, _, body = shlex.split(line)
        answer = films.post(url.removeprefix("http://127.0.0.1:8080"), content=body)
        assert answer.status_code == 200, answer.text
        answers.append(answer.json())
    filtered, explained, drawn, similar, latest = answers
    assert filtered["items"] == ["scream"]
    assert filtered["features"] == [{"title": "Scream"}]
    assert len(explained["reasons"]) == len(explained["items"]) == 5
    assert len(drawn["propensities"]) == 5
    assert drawn["why_not"][0]["item"] == "alien"
    assert set(similar["items"]) == {"psycho", "scream", "heat"}
    assert len(latest["items"]) == 5


def test_the_client_answers_as_the_page_shows(films, monkeypatch, capsys):
    monkeypatch.setattr("hsnn.serving.client.client.httpx.Client", lambda **_: films)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "http.md", "exec"), {"__name__": "snippet"})
    *horror, last = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in horror} == {"alien", "psycho", "scream"}
    assert last.endswith("['heat']")


def test_errors_of_the_client_are_the_servers_words(films, monkeypatch):
    monkeypatch.setattr("hsnn.serving.client.client.httpx.Client", lambda **_: films)
    with hsnn.Client("http://127.0.0.1:8080") as client:
        with pytest.raises(Exception, match="known: genres, title, year") as refused:
            client.popular(filters={"where": {"field": "colour", "has": True}})
        assert refused.value.status == 422
        with pytest.raises(Exception, match="no user 'zoe'"):
            client.user("zoe")


def test_every_field_operator_and_error_is_on_the_page():
    words = set(re.findall(r"`([^`]+)`", PAGE))
    assert set(schema.Query.__struct_fields__) <= words
    assert set(Filters.__struct_fields__) <= words
    assert set(Condition.__struct_encode_fields__) <= words
    assert {json.loads(problem_of(kind(*arguments(kind))).body)["type"] for kind in STATUS} <= words


def arguments(kind: type[Exception]) -> tuple[object, ...]:
    return (
        ("text", 1.0) if kind.__name__ in ("RateLimitError", "BackpressureError", "EventsNotTakenError") else ("text",)
    )


def test_every_route_is_on_the_page_or_on_that_of_events(films):
    paths = films.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method in operations:
            if path != "/openapi.json":
                shown = re.sub(r"{\w+}", "{id}", path)
                assert f"`{method.upper()} {shown}`" in PAGE, (method, path)


def test_the_openapi_document_resolves_and_describes_answers_and_errors(films):
    document = films.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert names <= document["components"]["schemas"].keys()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"].endswith("."), (method, path)
            responses = operation["responses"]
            assert "200" in responses
            if path.startswith("/v1"):
                problems = responses["503"]["content"]["application/problem+json"]["schema"]
                assert problems == {"$ref": "#/components/schemas/Problem"}
