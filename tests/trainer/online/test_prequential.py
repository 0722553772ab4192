"""The server is asked, never trusted, and never waited for beyond the deadline."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import httpx
import msgspec
import numpy as np
import pytest

from hsnn.serving.schema import parse_requests
from hsnn.trainer.errors import TokenError
from hsnn.trainer.online.prequential import LivePrequential
from tests.waiting import DEADLINE

SHORT = 0.3


@pytest.fixture
def learner(taught, copy_of):
    return copy_of(taught[0])


@pytest.fixture
def prepared(learner, new_world):
    world = new_world(seed=3)
    world.now = learner.watermark
    return learner.prepare(world.batch(60))


@pytest.fixture
def new_asker(config):
    """``new_asker(handler)`` asks a server that is a function of the request."""
    made = []

    def make(handler, **changes) -> LivePrequential:
        asker = LivePrequential(
            config.model_copy(update={"prequential_share": 1.0, "prequential_deadline": 30.0, **changes})
        )
        asker._client = httpx.Client(transport=httpx.MockTransport(handler), base_url="http://server")
        made.append(asker)
        return asker

    yield make
    for asker in made:
        asker.close()


def answers(request: httpx.Request, items) -> httpx.Response:
    """Answer every query by ``items(query)``."""
    found = [
        {
            "items": items(query),
            "scores": [],
            "version": 1,
            "as_of": 0,
            "stats": {"scored": 10, "candidates": 20, "nodes": 2, "corpus": 40, "took_ms": 1.0},
        }
        for query in msgspec.json.decode(request.content)["queries"]
    ]
    return httpx.Response(200, content=msgspec.json.encode({"answers": found}))


def ask(asker, prepared, learner) -> None:
    asker.collect(asker.submit(prepared, learner))


def test_hits_are_counted_by_method_and_cut(new_asker, prepared, learner):
    names = [*learner.items.table.ids]
    filler = [f"x{n}" for n in range(60)]

    def handler(request):
        queries = msgspec.json.decode(request.content)["queries"]
        modes = ["beam", "popularity", "covisitation"]
        assert [query["mode"] for query in queries] == [mode for mode in modes for _ in range(len(queries) // 3)]
        return answers(request, lambda query: filler[:30] + names if query["mode"] == "beam" else names[:0])

    asker = new_asker(handler)
    ask(asker, prepared, learner)
    repeated = (prepared.queries.history_items == prepared.items[:, None]).any(1)
    targets = prepared.items[~repeated]
    assert asker.measured == len(targets) > 20
    assert asker.unmeasured == 0
    expected = np.mean(targets < 20)  # after 30 others, rows 0 to 19 are among the first 50
    assert asker.recall()["recall_at_50"] == {
        "served": pytest.approx(expected),
        "popularity": 0.0,
        "covisitation": 0.0,
    }
    assert asker.recall()["recall_at_20"]["served"] == 0.0
    assert asker.recent() == asker.recall()
    assert asker.scored_share == pytest.approx(0.25)


def test_queries_are_what_a_server_understands_and_hold_no_answer(new_asker, prepared, learner):
    asked = []
    asker = new_asker(lambda request: asked.append(request) or answers(request, lambda query: []))
    ask(asker, prepared, learner)
    requests = parse_requests(asked[0].content)
    assert str(asked[0].url) == "http://server/v1/retrieve_many"
    assert len(requests) == 3 * asker.measured
    for request in requests:
        assert request.k == 50
        assert request.index == "hsnn", "of this loop, whatever arm of an experiment the user is in"
        assert all(engaged.ts < request.as_of for engaged in request.history)
        assert request.user in learner.users.table.ids
        assert request.context == {"hour": request.as_of // 3_600_000 % 24}


def test_users_without_a_row_are_asked_for_by_name(new_asker, prepared, learner):
    asked = []
    asker = new_asker(lambda request: asked.append(request) or answers(request, lambda query: []))
    strangers = {at: f"stranger {at}" for at in range(len(prepared.users))}
    ask(asker, replace(prepared, users=np.full_like(prepared.users, -1), unknown_users=strangers), learner)
    assert {*(request.user for request in parse_requests(asked[0].content))} <= {*strangers.values()}


def test_events_that_repeat_their_history_are_not_asked(new_asker, prepared, learner):
    asker = new_asker(lambda request: answers(request, lambda query: []))
    prepared.queries.history_items[:, -1] = prepared.items
    assert asker.submit(prepared, learner) is None


@pytest.mark.slow  # waits for the deadline
def test_late_answers_are_unmeasured_and_the_server_is_left_alone_until_it_has_answered(new_asker, prepared, learner):
    calls, may = [], threading.Event()

    def handler(request):
        calls.append(request)
        may.wait(DEADLINE)
        return answers(request, lambda query: [*learner.items.table.ids])

    asker = new_asker(handler, prequential_deadline=SHORT)
    began = time.monotonic()
    ask(asker, prepared, learner)
    assert SHORT <= time.monotonic() - began < DEADLINE  # what the server takes
    late = asker.unmeasured
    assert (asker.measured, late > 20, len(calls)) == (0, True, 1)
    assert asker.submit(prepared, learner) is None  # not waited for again
    assert (asker.measured, asker.unmeasured, len(calls)) == (0, 2 * late, 1)
    may.set()
    while not asker._overdue.done():
        time.sleep(0.01)
    assert asker.measured == 0  # what came too late counts for nothing
    assert asker.scored_share is None
    ask(asker, prepared, learner)
    assert (asker.measured, asker.unmeasured, len(calls)) == (late, 2 * late, 2)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(503),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, content=b"[]"),
        httpx.Response(200, content=b'{"answers": []}'),
        httpx.Response(200, content=b'{"answers": [{"items": [1]}]}'),
        httpx.Response(422, json={"error": "no"}),
    ],
    ids=["busy", "no json", "a list", "too few", "other types", "refused"],
)
def test_whatever_a_server_says_training_goes_on(new_asker, prepared, learner, response):
    asker = new_asker(lambda request: response)
    ask(asker, prepared, learner)
    assert asker.measured == 0
    assert asker.unmeasured > 20
    assert asker.recall() == asker.recent() == {}


def test_nobody_there(new_asker, prepared, learner):
    def refuse(request):
        raise httpx.ConnectError("refused")

    asker = new_asker(refuse)
    ask(asker, prepared, learner)
    assert asker.unmeasured > 20


def test_no_server_no_questions(config, prepared, learner):
    asker = LivePrequential(config)
    assert asker.submit(prepared, learner) is None
    asker.collect(None)
    assert (asker.measured, asker.unmeasured, asker.scored_share) == (0, 0, None)
    asker.close()


@pytest.mark.slow
def test_asking_leaves_training_as_it_was(new_asker, learner, copy_of, new_world):
    """The asker has a random generator of its own, and no say."""
    alone = copy_of(learner)
    asker = new_asker(lambda request: answers(request, lambda query: []), prequential_share=0.3)
    for one, asked in ((learner, True), (alone, False)):
        world = new_world(seed=3)
        world.now = one.watermark
        for _ in range(3):
            prepared = one.prepare(world.batch(30))
            question = asker.submit(prepared, one) if asked else None
            one.train(prepared)
            asker.collect(question)
    assert asker.measured > 0
    one, other = learner.state_dict()[0], alone.state_dict()[0]
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_token_is_sent_and_a_missing_one_named(config, monkeypatch):
    asked = config.model_copy(update={"server": "http://server", "server_token_env": "A_TOKEN"})
    with pytest.raises(TokenError, match="A_TOKEN"):
        LivePrequential(asked)
    monkeypatch.setenv("A_TOKEN", "hush")
    asker = LivePrequential(asked)
    assert asker._client.headers["Authorization"] == "Bearer hush"
    asker.close()
