from __future__ import annotations

import msgspec
import pytest

from hsnn.serving.console.history import SPAN, FigureHistory, Sample, as_series
from hsnn.streaming.redis.keys import key


def test_rows_come_back_with_their_times(redis_client):
    history = FigureHistory(redis_client)
    rows = [Sample("a", lag_records=number, recall={"served": 0.25}) for number in range(3)]
    for row in rows:
        history.append(row, at=0)
    found = history.read(0)
    assert [row for _, row in found] == rows
    assert history.read(found[-1][0] + 1) == []


def test_rows_older_than_a_day_are_removed(redis_client):
    for at in range(0, 300_000, 1000):  # a Redis stream is trimmed in nodes of a hundred entries
        redis_client.xadd(key("console", "history"), {"d": b"old"}, id=f"{1 + at}-0")
    FigureHistory(redis_client).append(Sample("a"), at=round(1000 * SPAN) + 300_000)
    assert redis_client.xlen(key("console", "history")) <= 100


def test_rows_of_another_release_are_left_out(redis_client):
    redis_client.xadd(key("console", "history"), {"d": b"\xc1"})
    redis_client.xadd(key("console", "history"), {"other": b""})
    FigureHistory(redis_client).append(Sample("a"), at=0)
    assert len(FigureHistory(redis_client).read(0)) == 1


def test_rows_that_end_earlier_are_read(redis_client):
    before = msgspec.to_builtins(Sample("a", lag_records=7))[:18]
    redis_client.xadd(key("console", "history"), {"d": msgspec.msgpack.encode(before)}, id="5-0")
    assert FigureHistory(redis_client).read(0) == [(5, Sample("a", lag_records=7))]


def test_servers_are_added_up_and_the_slowest_counts():
    rows = [
        (at, Sample(name, requests_per_second=rate, p99_ms=slow, lag_records=7))
        for at in (0, 10_000)
        for name, rate, slow in (("a", 2.0, 5.0), ("b", 3.0, 50.0))
    ]
    series = as_series(rows, points=10)
    assert series["requests_per_second"] == [5.0, 5.0]
    assert series["p99_ms"] == [50.0, 50.0]
    assert series["lag_records"] == [7.0, 7.0]
    assert as_series(rows, points=1)["requests_per_second"] == [5.0]


def test_what_was_not_measured_is_none_and_methods_have_a_series_each():
    rows = [(0, Sample("a")), (10_000, Sample("a", loss=2.0, recall={"served": 0.5, "popularity": 0.25}))]
    series = as_series(rows, points=10)
    assert series["loss"] == [None, 2.0]
    assert series["recall"] == {"served": [None, 0.5], "popularity": [None, 0.25]}
    assert as_series([], points=10) == {"t": [], "recall": {}}


@pytest.mark.slow
@pytest.mark.parametrize("points", [1, 7, 360])
def test_a_day_becomes_so_many_points_at_most(points):
    rows = [(at * 10_000, Sample("a", loss=1.0)) for at in range(8640)]
    series = as_series(rows, points)
    assert len(series["t"]) <= points
    assert set(series["loss"]) == {1.0}
    assert series["t"][-1] == rows[-1][0]
