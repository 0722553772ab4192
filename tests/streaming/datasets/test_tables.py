"""Columns as a spreadsheet or a data frame writes them: read, left out and counted, or refused in a sentence."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from hsnn.streaming.datasets import DataError, tables
from hsnn.streaming.datasets.assemble import to_text

DAYS = [datetime(2023, 11, day, 4, 52, tzinfo=UTC) for day in (1, 2, 15)]
MILLIS = [int(day.timestamp() * 1000) for day in DAYS]


@pytest.mark.parametrize(
    "notation",
    [
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d %H:%M",
        "%d/%m/%Y %H:%M",
        "%m/%d/%Y %H:%M",
        "%d.%m.%Y %H:%M:%S",
        "%m/%d/%Y %H:%M:%S",
    ],
)
def test_times_of_every_spreadsheet_are_read(notation: str) -> None:
    texts = pa.chunked_array([[day.strftime(notation) for day in DAYS]])
    assert tables.to_millis(texts, "date").tolist() == MILLIS


def test_times_that_are_times_stay() -> None:
    assert tables.to_millis(pa.chunked_array([pa.array(DAYS, pa.timestamp("us", "UTC"))]), "date").tolist() == MILLIS


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["01/11/2023 04:52", "02/11/2023 04:52"], "column date: '01/11/2023 04:52' may mean two days"),
        (["2023-11-15 04:52", "yesterday"], "column date: 'yesterday' is no time"),
        (["15/11/2023 04:52", "11/15/2023 04:52"], "column date: '11/15/2023 04:52' is no time"),
    ],
)
def test_a_time_that_cannot_be_told_is_named(texts: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        tables.to_millis(pa.chunked_array([texts]), "date")


def test_numbers_with_a_decimal_comma_are_read_and_others_refused() -> None:
    assert tables.to_numbers(pa.chunked_array([["2,55", "3", None]]), "price").to_pylist() == [2.55, 3.0, None]
    with pytest.raises(DataError, match="column price holds what is no number"):
        tables.to_numbers(pa.chunked_array([["free"]]), "price")


def test_incomplete_rows_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    table = pa.table({"user": [1.0, float("nan"), 3.0, 4.0], "item": ["a", "b", None, "d"], "more": [None] * 4})
    with caplog.at_level(logging.WARNING):
        kept = tables.drop_incomplete(table, ("user", "item"), "clicks.csv")
    assert (to_text(kept["user"]), to_text(kept["item"])) == (["1", "4"], ["a", "d"])
    assert "clicks.csv: 2 of 4 rows lack a value of user or item" in caplog.text


def test_a_table_without_a_complete_row_is_refused() -> None:
    with pytest.raises(DataError, match="every one of 1 rows lacks a value of user"):
        tables.drop_incomplete(pa.table({"user": pa.array([None], pa.int64())}), ("user",), "clicks.csv")
