from __future__ import annotations

from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from hsnn.streaming.datasets import DataError, online_retail_ii

AT_EIGHT = 1_262_332_800_000  # 2010-01-01 08:00 UTC


def test_only_real_purchases_of_products_by_known_people(invoices: Path) -> None:
    data = online_retail_ii.read(invoices)
    e = data.engagements
    assert (e.user, e.item, set(e.action)) == (["18", "17"], ["85123A", "85123A"], {"purchase"})
    assert (e.value.tolist(), e.ts.tolist()) == ([2, 6], [AT_EIGHT, AT_EIGHT + 3_600_000])


def test_features_are_those_of_the_first_purchase(invoices: Path) -> None:
    data = online_retail_ii.read(invoices)
    assert [(item.id, item.features) for item in data.items] == [("85123A", {"price": 2.0})]
    assert [(user.id, user.features) for user in data.users] == [
        ("18", {"country": "Spain"}),
        ("17", {"country": "France"}),
    ]


def test_sheets_saved_as_csv_with_the_other_names_give_the_same(invoices: Path, tmp_path: Path) -> None:
    table = pq.read_table(invoices / "online_retail_ii.parquet")
    names = {"InvoiceNo": "Invoice", "UnitPrice": "Price", "CustomerID": "Customer ID"}
    folder = tmp_path / "sheets"
    folder.mkdir()
    pa_csv.write_csv(
        table.rename_columns([names.get(name, name) for name in table.column_names]), folder / "online_retail_ii.csv"
    )
    assert list(online_retail_ii.read(folder).events()) == list(online_retail_ii.read(invoices).events())


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no online_retail"):
        online_retail_ii.read(tmp_path)
