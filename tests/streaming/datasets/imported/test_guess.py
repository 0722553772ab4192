from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hsnn.streaming.datasets import DataError
from hsnn.streaming.datasets.imported.files import open_file
from hsnn.streaming.datasets.imported.guess import guess_map
from hsnn.streaming.datasets.imported.mapping import FileMap
from hsnn.streaming.datasets.imported.sql import ImportDatabase


@pytest.fixture
def con(tmp_path: Path) -> Iterator[ImportDatabase]:
    (tmp_path / "work").mkdir()
    opened = ImportDatabase(tmp_path / "work")
    yield opened
    opened.close()


def guessed(con: ImportDatabase, folder: Path, **files: str) -> FileMap:
    opened = []
    for number, (name, text) in enumerate(files.items()):
        path = folder / f"{name}.csv"
        path.write_text(text)
        opened.append(open_file(con, path, number))
    return guess_map(con, opened)


EVENTS = "user_id,item_id,timestamp\n1,a,1700000000\n"


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("user_id,item_id,timestamp", ("user_id", "item_id", "timestamp")),
        ("visitorid,itemid,timestamp", ("visitorid", "itemid", "timestamp")),
        ("reviewerID,asin,unixReviewTime,time", ("reviewerID", "asin", "time")),
        ("Invoice No,StockCode,Customer ID,InvoiceDate", ("Customer ID", "StockCode", "InvoiceDate")),
        ("session_id,product_sku,event_time", ("session_id", "product_sku", "event_time")),
    ],
)
def test_columns_by_the_names_that_are_usual(
    header: str, fields: tuple[str, str, str], con: ImportDatabase, tmp_path: Path
) -> None:
    (table,) = guessed(con, tmp_path, log=f"{header}\n{','.join('1' for _ in header.split(','))}\n").tables("events")
    assert (table.user, table.item, table.ts) == fields


@pytest.mark.parametrize(
    ("name", "action"), [("orders", "'purchase'"), ("page_views", "'view'"), ("clicks", "'click'"), ("log", "'view'")]
)
def test_a_file_names_the_action(name: str, action: str, con: ImportDatabase, tmp_path: Path) -> None:
    assert guessed(con, tmp_path, **{name: EVENTS}).tables("events")[0].action == action


def test_features_are_what_items_share(con: ImportDatabase, tmp_path: Path) -> None:
    rows = "".join(f"{n},Pot {n},{n}.5,red,{n % 3},4{n:04},a|b,{'long ' * 40}\n" for n in range(60))
    found = guessed(con, tmp_path, events=EVENTS, products=f"sku,name,price,colour,shop_id,ean,tags,text\n{rows}")
    (items,) = found.tables("items")
    assert (items.id, items.title) == ("sku", "name")
    assert set(items.features) == {"price", "colour", "shop_id", "ean", "tags"}
    assert items.numbers == ("price",)
    assert items.lists == {"tags": "|"}


def test_what_identifies_people_is_no_feature(con: ImportDatabase, tmp_path: Path) -> None:
    people = "user_id,city,e-mail,first_name,birthday\n1,Kiel,a@b,Ann,2000-01-01\n"
    (users,) = guessed(con, tmp_path, events=EVENTS, customers=people).tables("users")
    assert users.features == {"city": "city"}


def test_what_was_shown_is_recognised(con: ImportDatabase, tmp_path: Path) -> None:
    (shown,) = guessed(con, tmp_path, events=EVENTS, shown="user_id,items,ts\n1,a|b,1700000000\n").tables("impressions")
    assert (shown.items, shown.lists) == ("items", {"items": "|"})


def test_an_unknown_file_is_explained_with_its_columns(con: ImportDatabase, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log.csv: .*\(a, b\): no column for user, item, ts.*--map"):
        guessed(con, tmp_path, log="a,b\n1,2\n")


def test_files_without_events_are_explained(con: ImportDatabase, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the files has events"):
        guessed(con, tmp_path, products="sku,name\n1,2\n")
