from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from hsnn.streaming.datasets import DataError
from hsnn.streaming.datasets.imported.notation import find_decimals, find_times, id_sql, list_sql
from hsnn.streaming.datasets.imported.sql import ImportDatabase, literal


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportDatabase]:
    opened = ImportDatabase(tmp_path_factory.mktemp("work"))
    yield opened
    opened.close()


MOMENT = int(datetime(2023, 11, 15, 4, 52, 10, tzinfo=UTC).timestamp() * 1000)


def times(con: ImportDatabase, *texts: str, given: str | None = None) -> tuple[list[int | None], str]:
    con.register("texts", pa.table({"x": pa.array(texts)}))
    found = find_times(con, "texts", "x", kind="VARCHAR", field="ts", given=given)
    return [row[0] for row in con.execute(f"SELECT {found.sql} FROM texts")], found.says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1700023930", "seconds since 1970"),
        ("1700023930.0", "seconds since 1970"),
        ("1.70002393e9", "seconds since 1970"),
        ("1700023930000", "milliseconds since 1970"),
        ("1700023930000000", "microseconds since 1970"),
        ("1700023930000000000", "nanoseconds since 1970"),
        ("20231115045210", "digits (20231115)"),
        ("2023-11-15T04:52:10Z", "ISO 8601"),
        ("2023-11-15 05:52:10+01:00", "ISO 8601"),
        ("2023-11-15 05:52:10 +0100", "ISO 8601 with an offset after a space"),
        ("2023-11-15 04:52:10 +0000 UTC", "Go"),
        ("15.11.2023 04:52:10", "day.month.year"),
        ("15/11/2023 04:52:10", "day/month/year"),
        ("11/15/2023 4:52:10 AM", "month/day/year"),
        ("15-11-2023 04:52:10", "day-month-year"),
        ("15 Nov 2023 04:52:10", "day month-name year"),
        ("Wed, 15 Nov 2023 05:52:10 +0100", "e-mail (RFC 2822)"),
        ("15/Nov/2023:05:52:10 +0100", "web server log"),
    ],
)
def test_notations_of_times(text: str, says: str, con: ImportDatabase) -> None:
    found, said = times(con, text)
    assert found == [MOMENT]
    assert says in said


def test_a_column_may_mix_zones_and_notations(con: ImportDatabase) -> None:
    found, said = times(con, "2023-11-15T04:52:10Z", "2023-11-15 05:52:10+01:00", "15.11.2023 04:52:10", "soon")
    assert found == [MOMENT] * 3 + [None]
    assert said == "ISO 8601 and day.month.year"


def test_all_days_together_tell_the_month(con: ImportDatabase) -> None:
    found, said = times(con, "05/06/2023", "25/06/2023")
    assert said == "day/month/year"
    assert found[0] == int(datetime(2023, 6, 5, tzinfo=UTC).timestamp() * 1000)
    found, said = times(con, "05/06/2023", "05/26/2023")
    assert found[0] == int(datetime(2023, 5, 6, tzinfo=UTC).timestamp() * 1000)


def test_days_that_may_be_two_are_an_error_unless_a_format_is_given(con: ImportDatabase) -> None:
    with pytest.raises(DataError, match=r"'05/06/2023' may be day/month/year or month/day/year.*ts_format"):
        times(con, "05/06/2023", "07/08/2023")
    found, _ = times(con, "05/06/2023", "x", given="%d/%m/%Y")
    assert found == [int(datetime(2023, 6, 5, tzinfo=UTC).timestamp() * 1000), None]


@pytest.mark.parametrize("text", ["soon", "12", "1700"])
def test_what_is_no_time_is_an_error(text: str, con: ImportDatabase) -> None:
    with pytest.raises(DataError, match=r"ts: .*is no time"):
        times(con, text)


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1.5", "2", "", "1e3"], [1.5, 2.0, None, 1000.0]),
        (["1,5", "1.234,50", "2"], [1.5, 1234.5, 2.0]),
        (["1,234.50", "1,234"], [1234.5, 1234.0]),
        (["€ 1,50", "20,00 EUR", "-3,1"], [1.5, 20.0, -3.1]),
        (["nan", "inf", "x"], [None, None, None]),
    ],
)
def test_notations_of_numbers(texts: list[str], numbers: list[float | None], con: ImportDatabase) -> None:
    con.register("texts", pa.table({"x": texts}))
    sql, _ = find_decimals(con, "texts", {"x": "x"})["x"]
    assert [row[0] for row in con.execute(f"SELECT {sql} FROM texts")] == numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3.0", "3"),
        (" 3 ", "3"),
        ("3.10", "3.10"),
        ("007", "007"),
        ("None", None),
        ("NaN", None),
        ("", None),
        ("\\N", None),
    ],
)
def test_ids(text: str, expected: str | None, con: ImportDatabase) -> None:
    assert con.execute(f"SELECT {id_sql(literal(text))}")[0][0] == expected


def test_ids_of_floats_are_whole_numbers(con: ImportDatabase) -> None:
    con.register("floats", pa.table({"x": [3.0, 2.5, float("nan"), 2.0**60]}))
    assert con.execute(f"SELECT {id_sql('x', 'DOUBLE')} FROM floats") == [("3",), (None,), (None,), (None,)]


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("a| b||3.0", "|", ["a", "b", "3"]),
        ('["a", 3, null]', "json", ["a", "3"]),
        ("['a', 'b']", "json", ["a", "b"]),
    ],
)
def test_lists(text: str, separator: str, expected: list[str], con: ImportDatabase) -> None:
    sql = list_sql(literal(text), separator, ids=True)
    assert con.execute(f"SELECT {sql}")[0][0] == expected
