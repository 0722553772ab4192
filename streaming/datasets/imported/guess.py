"""Guess which column is what, by the names that shops, trackers and research data give their columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hsnn.streaming.datasets.base import DataError
from hsnn.streaming.datasets.imported.files import OpenedFile
from hsnn.streaming.datasets.imported.mapping import FileMap, Kind, TableMap
from hsnn.streaming.datasets.imported.notation import clean_text, find_decimals, is_number_type
from hsnn.streaming.datasets.imported.sql import ImportDatabase, identifier

# Names by field, the surest first. Upper and lower case and separators do not matter.
_NAMES = {
    "user": "user_id user visitor_id visitor customer_id customer client_id member_id account_id person_id reviewer_id "
    "uid anonymous_id cookie_id device_id session_id session",
    "item": "item_id item product_id product sku article_id article stock_code movie_id film_id video_id track_id "
    "song_id book_id game_id content_id news_id listing_id offer_id recipe_id asin isbn click_article_id product_sku "
    "variant_id",
    "items": "items item_ids shown impressions shown_items product_ids products",
    "ts": "ts timestamp event_time event_timestamp time time_ms datetime date_time created_at occurred_at date "
    "order_date invoice_date purchased_at viewed_at clicked_at rated_at click_timestamp unix_time when created",
    "action": "action event_type event_name event action_type behavior behaviour interaction interaction_type "
    "feedback_type activity type",
    "value": "value rating score stars overall quantity qty dwell_time watch_time",
    "event": "event_id message_id id",
    "impression": "impression_id impression request_id recommendation_id",
    "title": "title name product_name item_name article_name label headline",
    "arrives": "created_at published_at added_at created publish_time publication_date release_date ts timestamp",
    "available_from": "available_from valid_from",
    "expires_at": "expires_at expires expiry expiration valid_until available_until end_date",
}

# Columns of events that say under which circumstances something happened.
_CONTEXT = (
    "device device_type channel country region city language locale platform os browser "
    "referrer source medium store app"
)

# Words in the name of a file that say what its rows are where it has but a column `id`.
_ITEM_WORDS = ("item", "product", "catalog", "article", "movie", "film", "sku", "book", "video", "song", "track")
_USER_WORDS = ("user", "customer", "visitor", "member", "client")

# Actions by words in the name of a file of events that has no column for them.
_ACTIONS = {
    "purchase": ("order", "purchase", "sale", "invoice", "transaction", "checkout"),
    "cart": ("cart", "basket"),
    "click": ("click",),
    "rate": ("rating", "review"),
    "view": ("view", "visit", "page", "browse"),
    "like": ("like", "favorite", "favourite"),
    "play": ("play", "listen", "stream"),
}

# Columns about people that are no features.
_PRIVATE = ("name", "mail", "phone", "address", "birth", "password", "street")

# Names of whole numbers that are codes and not amounts.
_CODES = ("id", "code", "no", "number", "sku", "ean", "gtin", "upc", "zip", "postcode", "isbn")

# Rows that a column is judged by.
_SAMPLE = 20_000

# Characters: longer texts on average are descriptions, which no other item shares.
_LONG_TEXT = 120

# Share of rows with a value of their own from which a text is no category, if there are enough rows to tell.
_UNIQUE, _ENOUGH = 0.9, 50

# Share of the values that must be numbers for a column to hold numbers; the others are counted one by one.
_NUMBERS = 0.95


def guess_map(con: ImportDatabase, files: Sequence[OpenedFile]) -> FileMap:
    """Guess the tables and the columns of all files.

    Raises
    ------
    DataError
        A file has no columns that are known; the text says what is needed.
    """
    tables: dict[Kind, list[TableMap]] = {"events": [], "items": [], "users": [], "impressions": []}
    for file in files:
        kind, table = _guess_file(con, file)
        tables[kind].append(table)
    if not tables["events"]:
        raise DataError(
            f"none of the files has events: a column of users, one of items and one of times. "
            f"Found {'; '.join(f'{file.name}: {_listed(file)}' for file in files)}. Name the columns in a map (--map)"
        )
    return FileMap(**tables)


def _guess_file(con: ImportDatabase, file: OpenedFile) -> tuple[Kind, TableMap]:
    names = {field: _find(file, field) for field in _NAMES}
    stem = file.name.lower()
    if names["user"] and names["items"] and names["ts"] and not names["item"]:
        return "impressions", _impressions(con, file, names)
    if names["user"] and names["item"] and names["ts"]:
        return "events", _events(file, names, stem)
    plain = column(file, "id")
    if not names["user"] or names["item"]:
        item = names["item"] or (plain if any(word in stem for word in _ITEM_WORDS) else None)
        if item and not (names["user"] and names["item"]):
            return "items", _items(con, file, names, item)
    user = names["user"] or (plain if any(word in stem for word in _USER_WORDS) else None)
    if user and not names["item"]:
        return "users", _users(con, file, names, user)
    lacks = [field for field in ("user", "item", "ts") if not names[field]]
    raise DataError(
        f"{file.name}: it is not clear what its columns are ({_listed(file)}): no column for {', '.join(lacks)} is "
        "known by its name. Name the columns in a map (--map FILE)"
    )


def _events(file: OpenedFile, names: dict[str, str | None], stem: str) -> TableMap:
    used = {names[field] for field in ("user", "item", "ts", "action", "value", "impression")}
    action = names["action"]
    if action is None:
        action = next((f"'{name}'" for name, words in _ACTIONS.items() if any(word in stem for word in words)), None)
    if action is None and names["value"] and _key(names["value"]) in ("rating", "stars", "overall", "score"):
        action = "'rate'"
    event = names["event"] if names["event"] not in used else None
    context = {
        _key(column): column for column in file.columns if _key(column) in _CONTEXT.split() and column not in used
    }
    return TableMap(
        files=(file.name,),
        user=names["user"],
        item=names["item"],
        ts=names["ts"],
        action=action or "'view'",
        value=names["value"],
        id=event,
        impression=names["impression"],
        context=context,
    )


def _impressions(con: ImportDatabase, file: OpenedFile, names: dict[str, str | None]) -> TableMap:
    items = names["items"] or ""
    separator = _separator(con, file, items)
    return TableMap(
        files=(file.name,),
        user=names["user"],
        items=items,
        ts=names["ts"],
        id=names["impression"] or names["event"],
        lists={"items": separator or "json"},
    )


def _items(con: ImportDatabase, file: OpenedFile, names: dict[str, str | None], item: str) -> TableMap:
    arrives = names["arrives"]
    used = {item, names["title"], arrives, names["available_from"], names["expires_at"]}
    features, numbers, lists = _features(con, file, [name for name in file.columns if name not in used])
    return TableMap(
        files=(file.name,),
        id=item,
        title=names["title"],
        ts=arrives,
        available_from=names["available_from"],
        expires_at=names["expires_at"],
        features=features,
        numbers=numbers,
        lists=lists,
    )


def _users(con: ImportDatabase, file: OpenedFile, names: dict[str, str | None], user: str) -> TableMap:
    arrives = names["arrives"]
    rest = [
        name
        for name in file.columns
        if name not in (user, arrives) and not any(word in _key(name) for word in _PRIVATE)
    ]
    features, numbers, lists = _features(con, file, rest)
    return TableMap(files=(file.name,), id=user, ts=arrives, features=features, numbers=numbers, lists=lists)


def _features(
    con: ImportDatabase, file: OpenedFile, columns: list[str]
) -> tuple[dict[str, str], tuple[str, ...], dict[str, str]]:
    """Choose the columns that say something about an item that others share; tell numbers and lists."""
    sample = f"(SELECT * FROM {file.view} LIMIT {_SAMPLE})"
    text = {name: identifier(name) for name in columns if file.columns[name] == "VARCHAR"}
    shares = {name: share for name, (_, share) in find_decimals(con, sample, text).items()}
    features: dict[str, str] = {}
    numbers: list[str] = []
    lists: dict[str, str] = {}
    for column in columns:
        key = _key(column) or column
        if key in features:
            continue
        code = key.split("_")[-1] in _CODES
        numeric = is_number_type(file.columns[column]) or shares.get(column, 0.0) >= _NUMBERS
        if not numeric and column in text and not _is_category(con, sample, column, key):
            continue
        features[key] = column
        if numeric and not code:
            numbers.append(key)
        elif column in text and (separator := _separator(con, file, column)):
            lists[key] = separator
    return features, tuple(numbers), lists


def _is_category(con: ImportDatabase, sample: str, column: str, key: str) -> bool:
    x = clean_text(identifier(column))
    known, distinct, length = con.execute(
        f"SELECT count(x), count(DISTINCT x), coalesce(avg(length(x)), 0) FROM (SELECT {x} AS x FROM {sample})"
    )[0]
    if not known:
        return False
    if "image" in key or "picture" in key:  # shown by the console
        return True
    return length <= _LONG_TEXT and not (known >= _ENOUGH and distinct / known > _UNIQUE)


def _separator(con: ImportDatabase, file: OpenedFile, column: str) -> str | None:
    """Return what separates the entries of a column of lists: ``|``, or ``json``; None if it holds no lists."""
    if file.columns[column] != "VARCHAR":
        return None
    x = clean_text(identifier(column))
    known, braces, bars = con.execute(
        f"SELECT count(x), count(*) FILTER (x LIKE '[%]'), count(*) FILTER (x LIKE '%|%') "
        f"FROM (SELECT {x} AS x FROM {file.view} LIMIT {_SAMPLE})"
    )[0]
    if known and braces == known:
        return "json"
    return "|" if bars else None


def _find(file: OpenedFile, field: str) -> str | None:
    return next((found for name in _NAMES[field].split() if (found := column(file, name)) is not None), None)


def column(file: OpenedFile, name: str) -> str | None:
    """Return the column of a file that has a name; upper and lower case and separators do not matter."""
    wanted = name.replace("_", "")
    return next((other for other in file.columns if _key(other).replace("_", "") == wanted), None)


def _key(column: str) -> str:
    """Return the name of a column in lower case with underscores.

    Examples
    --------
    >>> _key("Stock Code"), _key("userId")
    ('stock_code', 'user_id')
    """
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.partition(":")[0])
    return re.sub(r"[^\w]+", "_", split).strip("_").lower()


def _listed(file: OpenedFile) -> str:
    return ", ".join(file.columns)
