from __future__ import annotations

from pathlib import Path

import pytest

from hsnn.streaming.datasets import DataError, cache, describe, get, load, names, source


def test_all_data_sets_are_known_with_terms_and_origin() -> None:
    assert names() == ["ml-100k", "movietweetings", "globo-news", "kuairand", "online-retail-ii"]
    for name in names():
        known = source(name)
        assert known.terms
        assert known.obtain
        assert known.homepage.startswith("https://")


def test_unknown_name_suggests_the_nearest_one() -> None:
    with pytest.raises(DataError, match="did you mean 'globo-news'"):
        load("globo-new:/tmp")


def test_load_by_path_and_limit(globo: Path) -> None:
    assert len(load(f"globo-news:{globo}")) == 4
    assert len(load(f"globo-news:{globo}", limit=3)) == 3
    assert len(load(f"globo-news:{globo}", limit=99)) == 4


def test_load_with_invalid_arguments_is_an_error(globo: Path) -> None:
    with pytest.raises(DataError, match="at least 1"):
        load(f"globo-news:{globo}", limit=0)
    with pytest.raises(DataError, match="is not a folder"):
        load(f"globo-news:{globo}/nowhere")


def test_load_uses_the_data_folder(globo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    globo.rename(globo.parent / "globo-news")
    monkeypatch.setenv("HSNN_DATA", str(globo.parent))
    assert len(load("globo-news")) == 4


def test_get_explains_how_to_obtain_what_it_may_not_fetch() -> None:
    with pytest.raises(DataError, match=r"(?s)academic use.*kaggle.*globo-news:/path"):
        get("globo-news")


def test_get_uses_the_cache(recbole: Path) -> None:
    target = cache.folder("ml-100k")
    target.parent.mkdir(parents=True)
    recbole.rename(target)
    assert get("ml-100k") == target
    assert len(load("ml-100k")) == 3


def test_describe_counts(videos: Path) -> None:
    assert describe(load(f"kuairand:{videos}")) == {
        "events": 6,
        "interactions": 3,
        "impressions": 3,
        "users": 2,
        "items": 2,
        "actions": {"click": 2, "like": 1},
        "first": 1000,
        "last": 3000,
        "hours": 0.0,
        "arrivals": 1,
        "departures": 1,
        "expire_after_idle": None,
    }
