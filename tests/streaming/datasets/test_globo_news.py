from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsnn.streaming.datasets import DataError, globo_news


def test_clicks_in_time_order_with_their_context(globo: Path) -> None:
    data = globo_news.read(globo)
    e = data.engagements
    assert (e.user, e.item) == (["1", "1", "2", "3"], ["50", "60", "60", "50"])
    np.testing.assert_array_equal(e.ts, [1000, 2000, 3000, 4000])
    assert np.isnan(e.value).all()
    assert e.context[1] == {
        "environment": "2",
        "device_group": "3",
        "os": "2",
        "country": "1",
        "region": "5",
        "referrer": "7",
    }
    assert e.context[0] is e.context[3]  # equal contexts are one object: millions of clicks share a few thousand


def test_articles_arrive_with_their_first_click(globo: Path) -> None:
    data = globo_news.read(globo)
    assert [(item.id, item.ts, item.features) for item in data.items] == [
        ("50", 999, {"category": "9"}),
        ("60", 1999, {"category": "4"}),
    ]
    assert data.users == []
    assert data.expire_after_idle == 24 * 3600
    assert data.title("50") == "article 50 (category 9)"


def test_columns_that_leak_the_future_are_not_read(globo: Path) -> None:
    data = globo_news.read(globo)
    assert not any("session" in name for context in data.engagements.context for name in context or {})


def test_the_publishers_files_give_the_same(globo: Path, globo_as_published: Path) -> None:
    assert list(globo_news.read(globo).events()) == list(globo_news.read(globo_as_published).events())


def test_limit_takes_the_earliest_clicks(globo: Path) -> None:
    data = globo_news.read(globo, 2)
    assert data.engagements.ts.tolist() == [1000, 2000]
    assert [item.id for item in data.items] == ["50", "60"]


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no clicks"):
        globo_news.read(tmp_path)
    (tmp_path / "clicks.csv").write_text("user_id,colour\n1,red\n")
    with pytest.raises(DataError, match=r"clicks\.csv has no column click_article_id"):
        globo_news.read(tmp_path)
    (tmp_path / "clicks.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"clicks\.parquet cannot be read"):
        globo_news.read(tmp_path)
