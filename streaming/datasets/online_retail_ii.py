"""Online Retail II: two years of invoices of a British gift shop; repeat purchases and seasonal goods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hsnn.streaming.datasets import tables
from hsnn.streaming.datasets.assemble import build_dataset, build_engagements, time_order, to_text
from hsnn.streaming.datasets.base import DataError, Dataset
from hsnn.streaming.schema.events import Feature

NAME = "online-retail-ii"

_COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
_OTHER_NAMES = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}

# Seconds. Measured: 0.08% of the purchases are of an item that was not bought for 180 days; 30% of the items end so.
_IDLE = 180 * 86400.0


def read(folder: Path, limit: int | None = None) -> Dataset:
    """Read the invoice lines (``online_retail*.parquet``, or its sheets saved as CSV) as interactions ``purchase``.

    Left out are cancellations and returns (an invoice number that starts with a letter, a quantity below one), lines
    without a price or a known customer, and lines that are no products (postage, fees, vouchers: stock codes that do
    not start with five digits). Codes that differ in case only are one item. The value is the quantity. Title and price
    of an item and the country of a user are those of the first line kept, known when they arrive.

    Raises
    ------
    DataError
        There are no invoice lines in `folder`, or the file lacks columns of the source.
    """
    found = tables.find(folder, "online_retail*")
    if not found:
        raise DataError(
            f"{folder} holds no online_retail*.parquet or .csv; `hsnn data get {NAME}` says where to get it"
        )
    try:
        lines = tables.read(found, _COLUMNS, text=("Invoice", "InvoiceNo", "StockCode"), renamed=_OTHER_NAMES)
        # All dates say together what the first of two numbers means, those of lines that are left out as well.
        lines = tables.drop_incomplete(lines, ("InvoiceDate",), str(folder))
        lines = _with(lines, "InvoiceDate", pa.array(tables.to_millis(lines["InvoiceDate"], "InvoiceDate")))
        table = _purchases(lines)
    except DataError as error:
        raise DataError(f"{found[0]}: {error}") from error
    ts = table["InvoiceDate"].to_numpy()
    order = time_order(ts, limit)
    table, ts = table.take(order), ts[order]
    users, items = to_text(table["CustomerID"].cast(pa.int64())), to_text(table["StockCode"])
    features = _first_lines(table, items)
    quantity = table["Quantity"].to_numpy().astype(np.float32)
    return build_dataset(
        NAME,
        build_engagements(ts, users, items, action="purchase", value=quantity),
        item_features=features,
        user_features=_countries(table, users),
        titles={item: str(known["title"]) for item, known in features.items() if "title" in known},
        expire_after_idle=_IDLE,
    )


def _with(table: Any, name: str, column: Any) -> Any:
    return table.set_column(table.column_names.index(name), name, column)


def _purchases(table: Any) -> Any:
    code = pc.utf8_upper(pc.utf8_trim_whitespace(table["StockCode"]))
    table = _with(table, "StockCode", code)
    for name in ("Quantity", "UnitPrice", "CustomerID"):
        table = _with(table, name, tables.to_numbers(table[name], name))
    kept = pc.match_substring_regex(table["InvoiceNo"], r"^\d")
    for condition in (
        pc.match_substring_regex(code, r"^\d{5}"),
        pc.greater(table["Quantity"], 0),
        pc.greater(table["UnitPrice"], 0.0),
        pc.invert(pc.is_nan(table["CustomerID"])),
    ):
        kept = pc.and_(kept, pc.fill_null(condition, False))
    return table.filter(kept)


def _first_lines(table: Any, items: list[str]) -> dict[str, dict[str, Feature]]:
    texts, prices = table["Description"].to_pylist(), table["UnitPrice"].to_pylist()
    found: dict[str, dict[str, Feature]] = {}
    for item, text, price in zip(items, texts, prices, strict=True):
        if item not in found:
            title = (text or "").strip()
            found[item] = {"title": title, "price": float(price)} if title else {"price": float(price)}
    return found


def _countries(table: Any, users: list[str]) -> dict[str, dict[str, Feature]]:
    found: dict[str, dict[str, Feature]] = {}
    for user, country in zip(users, table["Country"].to_pylist(), strict=True):
        found.setdefault(user, {"country": country})
    return found
