"""Plain requests get the answers of the path that all requests can take."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Answer, Filters, HistoryItem, Request, SeenRule
from hsnn.serving.search.plain import _SEARCHES, is_plain
from hsnn.serving.search.retrieval import retrieve

# In a fresh clone the kernels are compiled first.
pytestmark = [pytest.mark.slow, pytest.mark.long("compiled kernels"), pytest.mark.timeout(600)]


def test_every_field_of_a_request_is_obeyed_or_a_condition():
    """The short way must not ignore a field that is new."""
    obeyed = {"user", "k", "mode", "history", "context", "seen", "as_of", "filters", "index"}
    assert set(Request.__struct_fields__) == obeyed | set(_SEARCHES) | {"echo", "fields"}


def untimed(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, stats=msgspec.structs.replace(answer.stats, took_ms=0.0))


REQUESTS = st.builds(
    Request,
    user=st.sampled_from(["u0", "u1", "nobody", 7]),
    k=st.sampled_from([None, 1, 10, 70]),
    history=st.none() | st.lists(st.sampled_from(["i1", HistoryItem("i2", 1), "i3", "unknown"]), max_size=12),
    context=st.none() | st.just({"page": "home"}),
    seen=st.none() | st.sampled_from([SeenRule("seen"), SeenRule("nothing"), SeenRule("recent", items=2, minutes=1.0)]),
)


@given(
    seed=st.integers(0, 10**6),
    items=st.integers(1, 60),
    config=st.sampled_from([{}, {"children": (3,)}, {"pair_features": True}]),
    request=REQUESTS,
)
@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_same_answers_as_of_every_other_request(new_plant: Any, seed, items, config, request):
    rng, plant = np.random.default_rng(seed), new_plant(**{"pair_features": False} | config)
    plant.index_share = 0.5
    for number in range(items):
        plant.add(f"i{number}", int(rng.integers(6)))
    for number in rng.integers(items, size=20).tolist():
        plant.engage(f"u{rng.integers(2)}", plant.ids[number], after=int(rng.integers(10**6)))
    mirror, limits = Mirror(engine=True), RetrievalLimits(beam=3, budget=5, whole_leaves=True)
    plant.load(mirror)
    assert is_plain(mirror.state, request, limits)
    alone, together = retrieve(mirror, [request], limits)[0], retrieve(mirror, [request, request], limits)[0]
    assert untimed(alone) == untimed(together)
    msgspec.json.encode(alone)


@pytest.mark.parametrize(
    "asked", [{"filters": Filters(exclude=["i1"])}, {"mode": "exact"}, {"explain": True}, {"fields": ["*"]}]
)
def test_requests_with_conditions_are_not_plain(plant, asked):
    mirror = Mirror(engine=True)
    plant.load(mirror)
    limits = RetrievalLimits(whole_leaves=True)
    assert is_plain(mirror.state, Request(user="u0"), limits)
    assert not is_plain(mirror.state, Request(user="u0", **asked), limits)
    assert not is_plain(mirror.state, Request(user="u0"), RetrievalLimits())
