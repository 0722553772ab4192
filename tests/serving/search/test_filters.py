from __future__ import annotations

import pytest

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.schema import Filters, Request, parse_request
from hsnn.serving.search.retrieval import retrieve

MODES = ("beam", "exact", "exhaustive", "popularity", "popularity_filter")


@pytest.mark.parametrize("mode", MODES)
def test_allow_list_reaches_items_outside_the_beam(mirror, mode):
    listed = ["c5-0", "c5-1", "c3-9", "c0-0", "unheard of"]  # u0 has had c0-0
    answer = retrieve(
        mirror, [Request(user="u0", k=20, mode=mode, filters=Filters(items=listed))], RetrievalLimits(beam=1)
    )[0]
    assert set(answer.items) == {"c5-0", "c5-1", "c3-9"}


@pytest.mark.parametrize("mode", MODES)
def test_allow_list_of_nothing_gives_nothing(mirror, mode):
    answer = retrieve(mirror, [Request(user="u0", mode=mode, filters=Filters(items=["unheard of"]))])[0]
    assert answer.items == []
    assert answer.scores == []


@pytest.mark.parametrize("mode", MODES)
def test_excluded_items_do_not_use_up_the_budget(mirror, mode):
    exclude = [f"c0-{number}" for number in range(9)]
    answer = retrieve(mirror, [Request(user="u0", k=12, mode=mode, filters=Filters(exclude=exclude))])[0]
    assert not set(exclude) & set(answer.items)
    if mode in ("beam", "exact", "exhaustive"):
        assert answer.items[0] == "c0-9"
    assert len(answer.items) >= 11 if mode == "beam" else 12


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("features", "holds"),
    [
        ({"topic": ["c4", "c5"]}, lambda item: item[:2] in ("c4", "c5")),
        ({"parity": [1]}, lambda item: int(item[-1]) % 2 == 1),
        ({"tags": ["t7"]}, lambda item: item.endswith("-7")),
        ({"topic": ["c4"], "parity": [0]}, lambda item: item.startswith("c4") and int(item[-1]) % 2 == 0),
        ({"topic": ["c9"]}, lambda item: False),
    ],
)
def test_feature_filters_never_leak_and_find_all(mirror, mode, features, holds):
    request = Request(user="nobody", k=60, mode=mode, filters=Filters(features=features))
    answer = retrieve(mirror, [request], RetrievalLimits(beam=1, budget=60))[0]
    expected = {f"c{cluster}-{number}" for cluster in range(6) for number in range(10)}
    assert set(answer.items) == {item for item in expected if holds(item)}


def test_filters_follow_changed_features(plant, mirror):
    wanted = Request(user="nobody", k=60, filters=Filters(features={"topic": ["moved"]}))
    assert retrieve(mirror, [wanted])[0].items == []
    plant.features[7] = {"topic": "moved"}
    mirror.apply_delta(plant.insert(7, "changed"))
    assert retrieve(mirror, [wanted])[0].items == ["c0-7"]
    gone = Request(user="nobody", k=60, filters=Filters(features={"topic": ["c0"]}))
    assert "c0-7" not in retrieve(mirror, [gone], RetrievalLimits(budget=60))[0].items


def test_filters_apply_together(mirror):
    filters = Filters(items=["c1-1", "c1-2", "c1-3"], exclude=["c1-3"], features={"parity": [1]})
    assert retrieve(mirror, [Request(user="u9", filters=filters)])[0].items == ["c1-1"]


def test_numbers_and_texts_name_the_same_item(plant, mirror):
    mirror.apply_delta(plant.add("77", 2))
    mirror.apply_state(plant.state())
    request = parse_request(b'{"user": 5, "filters": {"items": [77]}}')
    assert retrieve(mirror, [request])[0].items == ["77"]
