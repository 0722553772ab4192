from __future__ import annotations

import gzip
import json
import string
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from hsnn.streaming.datasets import DataError, load, names
from hsnn.streaming.datasets.imported.entry import dataset_from_tables, import_dataset, validate_files
from hsnn.streaming.datasets.imported.mapping import parse_map
from hsnn.streaming.datasets.imported.report import ImportReport

START = 1_700_000_000  # seconds


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder as shops send it: three kinds of files, each awkward in its own way."""
    folder = tmp_path / "shop"
    folder.mkdir()
    products = (
        "SKU;Name;price;tags;created_at\r\n"
        '0007;"Krüge ""Größe; 7""";1.234,50;"blau|Küche";01.03.2023\r\n'
        "0003;Löffel;2,5;;15.03.2023\r\n"
        ";Ohne Nummer;1,00;;15.03.2023\r\n"
        "0009;Nie gesehen;teuer;;15.03.2023\r\n"
        "0011;Zu kurz\r\n"
    )
    (folder / "products.csv").write_bytes(products.encode("cp1252"))
    orders = (
        "customer_id,sku,created_at,action,qty,device\n"
        '3.0,0007,2023-11-14 23:13:21+01:00,view,,"a\nb"\n'
        "\n"
        "None,0007,2023-11-14 23:13:22+01:00,view,,mobile\n"
        "3,0003,2023-11-14T22:13:20Z,buy,2,mobile\n"
        "4,,2023-11-14T22:13:20Z,buy,2,mobile\n"
        "4,0003,yesterday,buy,2,mobile\n"
        "4,0003,0001-01-01 00:00:00,buy,2,mobile\n"
        "4,8888,2023-11-14 22:13:25,buy,1,mobile\n"
        "4,0003,2023-11-14 22:13:25,buy,many,mobile\n"
        "4,0003,2023-11-14 22:13:25,buy,1,mobile,too,many\n"
    )
    (folder / "orders.csv").write_text(orders, "utf-8-sig")
    people = '{"user_id": 3, "city": "Kiel", "email": "a@b"}\n{"user_id": null, "city": "Bonn"}\nnot JSON\n'
    (folder / "customers.jsonl").write_text(people, "utf-16")
    return folder


def refused(report: ImportReport) -> set[tuple[str, str, int, int, str]]:
    return {(r.file, r.reason, r.count, r.line, r.example) for r in report.refusals}


@pytest.mark.slow
def test_a_folder_of_awkward_files(shop: Path) -> None:
    _, report = import_dataset("shop", [shop])
    data = load("shop")
    e = data.engagements
    assert [(e.user[i], e.item[i], e.action[i], int(e.ts[i]) - START * 1000) for i in range(3)] == [
        ("3", "0003", "buy", 0),
        ("3", "0007", "view", 1000),
        ("4", "8888", "buy", 5000),
    ]
    assert len(e) == 3
    assert np.isnan(e.value[1])
    assert e.value[0] == 2
    assert e.context[1] == {"device": "a\nb"}
    assert data.title("0007") == 'Krüge "Größe; 7"'
    features = {item.id: item.features for item in data.items}
    assert features["0007"] == {"title": 'Krüge "Größe; 7"', "price": 1234.5, "tags": ["blau", "Küche"]}
    assert features["0003"]["price"] == 2.5
    assert features["8888"] == {}
    assert [(user.id, user.features) for user in data.users] == [("3", {"city": "Kiel"})]
    assert {"None", "nan", ""}.isdisjoint([*e.user, *e.item, *features])
    assert refused(report) == {
        ("products.csv", "id is missing", 1, 4, ""),
        ("products.csv", "price is no number", 1, 5, "teuer"),
        ("products.csv", "the line has fewer columns than the header", 1, 6, "0011;Zu kurz"),
        ("orders.csv", "user is missing", 1, 5, "None"),
        ("orders.csv", "item is missing", 1, 7, ""),
        ("orders.csv", "ts is no time", 1, 8, "yesterday"),
        ("orders.csv", "ts is not between the years 1990 and 2100", 1, 9, "0001-01-01 00:00:00"),
        ("orders.csv", "value is no number", 1, 11, "many"),
        (
            "orders.csv",
            "the line has more columns than the header",
            1,
            12,
            "4,0003,2023-11-14 22:13:25,buy,1,mobile,too,many",
        ),
        ("customers.jsonl", "the line is no JSON object", 1, 3, "not JSON"),
        ("customers.jsonl", "id is missing", 1, 2, ""),
    }
    assert report.guessed
    assert report.profile.unknown_items == 1
    assert "shop" in names()


@pytest.mark.slow
def test_items_without_an_event_are_in_the_catalogue_from_the_start(shop: Path) -> None:
    import_dataset("shop", [shop])
    data = load("shop")
    times = {item.id: item.ts for item in data.items}
    first = START * 1000
    assert times == {"0007": first - 1, "0003": first - 1, "0009": first - 1, "8888": first + 4999}
    assert [topic for topic, _, _ in data.events()][:4] == ["items"] * 3 + ["users"]


@pytest.mark.slow
def test_a_limit_keeps_what_is_known_by_then(shop: Path) -> None:
    import_dataset("shop", [shop])
    data = load("shop", limit=2)
    assert len(data) == 2
    assert "8888" not in {item.id for item in data.items}


@pytest.mark.slow
def test_validate_finds_the_same_and_keeps_nothing(shop: Path, tmp_path: Path) -> None:
    report = validate_files([shop])
    _, imported = import_dataset("shop", [shop])
    assert report == imported
    assert names().count("validated") == 0


@pytest.mark.slow
def test_an_import_replaces_only_when_asked(shop: Path) -> None:
    target, _ = import_dataset("shop", [shop])
    with pytest.raises(DataError, match="there is a data set shop already"):
        import_dataset("shop", [shop])
    (shop / "orders.csv").write_text("customer_id,sku,created_at\n1,0003,2023-11-14\n")
    import_dataset("shop", [shop], replace=True)
    assert len(load("shop")) == 1
    assert sorted(path.name for path in target.parent.iterdir()) == ["shop"]


@pytest.mark.slow
def test_a_failed_import_leaves_the_old_data_set(shop: Path) -> None:
    target, _ = import_dataset("shop", [shop])
    (shop / "orders.csv").write_text("customer_id,sku,created_at\nNone,0003,2023-11-14\n")
    with pytest.raises(DataError, match=r"no event is left: .*orders.csv: user is missing \(line 2: 'None'\)"):
        import_dataset("shop", [shop], replace=True)
    assert len(load("shop")) == 3
    assert sorted(path.name for path in target.parent.iterdir()) == ["shop"]


@pytest.mark.parametrize("name", ["ml-100k", "a/b", "..", ""])
def test_names_that_cannot_be(name: str, shop: Path) -> None:
    with pytest.raises(DataError):
        import_dataset(name, [shop])


@pytest.mark.slow
def test_a_data_set_can_be_moved_and_loaded_by_its_folder(shop: Path, tmp_path: Path) -> None:
    target, _ = import_dataset("shop", [shop])
    target.rename(tmp_path / "elsewhere")
    assert len(load(f"any:{tmp_path / 'elsewhere'}")) == 3
    with pytest.raises(DataError, match="no data set is called 'shop'"):
        load("shop")


ROWS = [{"user": "u", "item": f"i{n}", "ts": START + n} for n in range(3)]


def written(path: Path) -> Path:
    """Write `ROWS` in the format that the name asks for."""
    text = "user\titem\tts\n" + "".join(f"{r['user']}\t{r['item']}\t{r['ts']}\n" for r in ROWS)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    if ".parquet" in path.name:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix in (".arrow", ".feather"):
        table = pa.Table.from_pylist(ROWS)
        new = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
        with new(path, table.schema) as writer:
            writer.write_table(table)
    else:
        body = {".tsv": text, ".jsonl": lines, ".json": json.dumps(ROWS)}[
            Path(path.stem).suffix or path.suffix
        ].encode()
        packed = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)(body)
        path.write_bytes(packed)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "a.tsv",
        "a.tsv.gz",
        "a.tsv.zst",
        "a.jsonl",
        "a.jsonl.gz",
        "a.jsonl.zst",
        "a.json",
        "a.parquet",
        "a.arrow",
        "a.feather",
    ],
)
def test_every_kind_of_file(name: str, tmp_path: Path) -> None:
    import_dataset("kinds", [written(tmp_path / name)])
    data = load("kinds")
    assert data.engagements.item == ["i0", "i1", "i2"]
    assert data.engagements.ts.tolist() == [(START + n) * 1000 for n in range(3)]


def test_copies_of_an_event_are_left_out_by_their_ids(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("event_id,user,item,ts\n1,u,a,1700000000\n1,u,a,1700000009\n1,u,b,1700000000\n")
    _, report = import_dataset("copies", [tmp_path / "e.csv"])
    assert report.duplicates == 1
    assert load("copies").engagements.item == ["a", "b"]


@pytest.mark.slow
def test_impressions_are_linked_and_come_first() -> None:
    data = dataset_from_tables(
        "shown",
        {
            "user": ["u", "u"],
            "item": ["a", "b"],
            "ts": [START, START],
            "impression": ["s1", "gone"],
            "action": ["c", "c"],
        },
        impressions={"user": ["u"], "items": [["a", "b"]], "ts": [START], "id": ["s1"]},
        columns={
            "events": {"files": ["events"], "user": "user", "item": "item", "ts": "ts", "impression": "impression"},
            "impressions": {"files": ["impressions"], "user": "user", "items": "items", "ts": "ts", "id": "id"},
        },
    )
    assert data.sequence.tolist() == [-1, 0, 1]
    assert data.interaction(0).impression == "s0"
    assert data.interaction(1).impression is None
    assert data.impression(0).items == ["a", "b"]


@pytest.mark.slow
def test_a_map_may_be_expressions_and_name_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,what,day,clock,kind\nu,A,2023-11-14,22:13:20,v\nu,B,2023-11-14,22:13:21,x\n")
    columns = parse_map(
        {
            "events": {
                "files": ["a*.csv"],
                "where": "kind <> 'x'",
                "user": "'shop-' || who",
                "item": "lower(what)",
                "ts": "day || ' ' || clock",
                "timezone": "Europe/Berlin",
                "action": "'view'",
            }
        }
    )
    import_dataset("expr", [tmp_path / "a.csv"], columns=columns)
    e = load("expr").engagements
    assert (e.user, e.item, e.ts.tolist()) == (["shop-u"], ["a"], [(START - 3600) * 1000])


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("nowhere", "no column and no SQL expression"),
        ("who ||", "no column and no SQL expression"),
        ("what", "no time"),
    ],
)
def test_a_wrong_field_is_named_with_the_columns_there_are(field: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,what,day\nu,A,2023-11-14\n")
    columns = parse_map({"events": {"user": "who", "item": "what", "ts": field}})
    with pytest.raises(DataError, match=text) as error:
        import_dataset("wrong", [tmp_path / "a.csv"], columns=columns)
    assert "a.csv, [events]" in str(error.value)


def test_a_file_that_no_table_names_is_an_error(shop: Path) -> None:
    columns = parse_map({"events": {"files": ["orders.csv"], "user": "customer_id", "item": "sku", "ts": "created_at"}})
    with pytest.raises(DataError, match=r"no table of the map names customers.jsonl, products.csv"):
        import_dataset("part", [shop], columns=columns)


class Frame:
    """What pandas and polars offer: a stream of Arrow record batches."""

    def __init__(self, **columns: Any) -> None:
        self._table = pa.table(columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.slow
@pytest.mark.parametrize("make", [dict, Frame, lambda **columns: pa.table(columns)])
def test_tables_in_memory(make: Any) -> None:
    events = make(user=np.array([1.0, np.nan, 2.0]), item=np.array([5, 6, 6]), ts=np.array([START, START, START + 1]))
    data = dataset_from_tables("frames", events, items=make(id=np.array([5]), title=["Pot"], price=[1.5]), keep=True)
    assert data.engagements.user == ["1", "2"]
    assert data.items[0].features == {"title": "Pot", "price": 1.5}
    assert load("frames").engagements.user == ["1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "Europe/Berlin")])
def test_columns_with_types_keep_their_meaning(kind: pa.DataType) -> None:
    moments = pa.array([START, START + 1], pa.int64()).cast(pa.timestamp("s")).cast(kind)
    events = {
        "user_id": [1, 2],
        "item_id": pa.array(["a", "b"]).dictionary_encode(),
        "timestamp": moments,
        "value": [1, 2],
    }
    items: dict[str, Any] = {
        "id": ["a"],
        "price": pa.array([Decimal("1.50")]),
        "tags": [["x", "y"]],
        "sale": [True],
        "year": [1999],
        "shop_id": pa.array([4.0]),
    }
    data = dataset_from_tables("typed", events, items=items)
    assert data.engagements.ts.tolist() == [START * 1000, START * 1000 + 1000]
    assert data.engagements.user == ["1", "2"]
    assert data.items[0].features == {"price": 1.5, "tags": ["x", "y"], "sale": True, "year": 1999.0, "shop_id": "4"}


def test_what_is_no_table_is_an_error() -> None:
    with pytest.raises(DataError, match="events is no table"):
        dataset_from_tables("frames", "events.csv")


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)
IDS = TEXTS.filter(
    lambda text: (
        text.lower() not in ("none", "null", "nil", "nan", "na", "n/a", "#n/a", "<na>", "nat", "\\n", "undefined")
        and not text.endswith(tuple(f".{'0' * n}" for n in range(1, 11)))
    )
)
EVENTS = st.lists(
    st.tuples(
        IDS,
        IDS,
        st.integers(631_152_000_000, 4_102_444_799_999),
        st.text(string.ascii_letters, min_size=1, max_size=8).filter(
            lambda text: text.lower() not in ("nan", "none", "null")
        ),
        st.none() | st.floats(-1e6, 1e6, width=32),
    ),
    min_size=20,
    max_size=60,
)


# Without shrinking: each example is an import of its own, with a database of its own.
@settings(
    deadline=None,
    max_examples=6,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@pytest.mark.slow
@example(
    rows=[("a\\", 'b"', 1_600_000_000_000, "view", 1.0), ('\\"c', "d\\", 1_600_000_000_001, "buy", None)], kind="csv"
)
@given(rows=EVENTS, kind=st.sampled_from(["csv", "jsonl", "parquet"]))
def test_what_is_read_back_is_what_was_written(
    rows: list[Any], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("written")
    table = pa.Table.from_pylist(
        [dict(zip(("user", "item", "ts", "action", "value"), row, strict=True)) for row in rows]
    )
    path = folder / f"events.{kind}"
    if kind == "csv":
        pa.csv.write_csv(table, path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()))
    else:
        pq.write_table(table, path)
    columns = parse_map({"events": {"user": "user", "item": "item", "ts": "ts", "action": "action", "value": "value"}})
    import_dataset("written", [path], columns=columns, replace=True)
    e = load("written").engagements
    order = sorted(range(len(rows)), key=lambda row: rows[row][2])
    assert [(e.user[i], e.item[i], int(e.ts[i]), e.action[i]) for i in range(len(rows))] == [rows[i][:4] for i in order]
    expected = [np.float32(np.nan if rows[i][4] is None else rows[i][4]) for i in order]
    np.testing.assert_array_equal(e.value, expected)
