"""Each format by a small sample in its real shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hsnn.streaming.datasets import DataError, load
from hsnn.streaming.datasets.base import Dataset
from hsnn.streaming.datasets.imported.entry import import_dataset
from hsnn.streaming.datasets.imported.formats import FORMATS

MS = 1_700_000_000_000


def imported(folder: Path, format: str) -> Dataset:
    import_dataset("sample", [folder], format=format, replace=True)
    return load("sample")


def rows(data: Dataset) -> list[tuple[str, str, str, int]]:
    e = data.engagements
    return [(e.user[i], e.item[i], e.action[i], int(e.ts[i]) - MS) for i in range(len(e))]


def features(data: Dataset) -> dict[Any, Any]:
    return {item.id: item.features for item in data.items}


def lines(path: Path, *objects: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in objects))


@pytest.mark.slow
def test_gorse_csv(tmp_path: Path) -> None:
    (tmp_path / "feedback.csv").write_text(
        "feedback_type,user_id,item_id,time_stamp\r\nstar,bob,repo:1,2023-11-14 22:13:20 +0000 UTC\r\n"
        "read,bob,repo:2,2023-11-14 22:13:21 +0000 UTC\r\n"
    )
    (tmp_path / "items.csv").write_text(
        "item_id,is_hidden,categories,time_stamp,labels,description\r\n"
        'repo:1,false,db|go,2023-11-01 00:00:00 +0000 UTC,"{""topics"":[""sql""],""stars"":3}",A database\r\n'
        'repo:2,false,,0001-01-01 00:00:00 +0000 UTC,"[""web""]",\r\n'
    )
    (tmp_path / "users.csv").write_text('user_id,labels\r\nbob,"[""go"",""rust""]"\r\n')
    data = imported(tmp_path, "gorse")
    assert rows(data) == [("bob", "repo:1", "star", 0), ("bob", "repo:2", "read", 1000)]
    assert features(data) == {
        "repo:1": {"title": "A database", "topics": ["sql"], "stars": 3, "categories": ["db", "go"]},
        "repo:2": {"labels": ["web"]},
    }
    assert data.users[0].features == {"labels": ["go", "rust"]}


@pytest.mark.slow
def test_gorse_json(tmp_path: Path) -> None:
    feedback = {
        "FeedbackType": "star",
        "UserId": "bob",
        "ItemId": "1",
        "Timestamp": "2023-11-14T22:13:20Z",
        "Comment": "",
    }
    item = {
        "ItemId": "1",
        "IsHidden": False,
        "Categories": ["db"],
        "Timestamp": "2023-11-01T00:00:00Z",
        "Labels": {"a": "b"},
    }
    lines(tmp_path / "feedback.jsonl", feedback)
    lines(tmp_path / "items.jsonl", item)
    data = imported(tmp_path, "gorse")
    assert rows(data) == [("bob", "1", "star", 0)]
    assert features(data) == {"1": {"a": "b", "categories": ["db"]}}


@pytest.mark.slow
def test_metarank(tmp_path: Path) -> None:
    lines(
        tmp_path / "events.jsonl",
        {
            "event": "item",
            "id": "81f46c34",
            "timestamp": str(MS - 1000),
            "item": "item1",
            "fields": [
                {"name": "title", "value": "red socks"},
                {"name": "price", "value": 10},
                {"name": "tags", "value": ["a"]},
            ],
        },
        {
            "event": "user",
            "id": "7",
            "timestamp": str(MS),
            "user": "user1",
            "fields": [{"name": "city", "value": "Kiel"}],
        },
        {
            "event": "ranking",
            "id": "r1",
            "timestamp": str(MS),
            "user": "user1",
            "session": "session1",
            "fields": [{"name": "query", "value": "socks"}],
            "items": [{"id": "item3", "fields": [{"name": "relevancy", "value": 2.0}]}, {"id": "item1"}],
        },
        {
            "event": "interaction",
            "id": "i1",
            "ranking": "r1",
            "timestamp": str(MS + 5),
            "user": "user1",
            "session": "session1",
            "type": "purchase",
            "item": "item1",
        },
    )
    data = imported(tmp_path, "metarank")
    assert rows(data) == [("user1", "item1", "purchase", 5)]
    assert data.impression(0).items == ["item3", "item1"]
    assert data.interaction(0).impression == "s0"
    assert features(data)["item1"] == {"title": "red socks", "price": 10, "tags": ["a"]}
    assert data.users[0].features == {"city": "Kiel"}


@pytest.mark.slow
def test_recbole(tmp_path: Path) -> None:
    (tmp_path / "ml.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t1700000000\n186\t302\t4.5\t1700000001\n"
    )
    (tmp_path / "ml.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        '242\tThe "Kolya"\t1996\tComedy Drama\n'
    )
    (tmp_path / "ml.user").write_text("user_id:token\tage:float\tgender:token\n196\t49\tM\n")
    data = imported(tmp_path, "recbole")
    assert rows(data) == [("196", "242", "rate", 0), ("186", "302", "rate", 1000)]
    assert data.engagements.value.tolist() == [3.0, 4.5]
    assert features(data)["242"] == {"title": 'The "Kolya"', "release_year": "1996", "class": ["Comedy", "Drama"]}
    assert data.users[0].features == {"age": 49.0, "gender": "M"}


@pytest.mark.slow
def test_movielens_csv(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,31,2.5,1700000000\n")
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n31,"American President, The (1995)",Comedy|Drama\n')
    data = imported(tmp_path, "movielens")
    assert rows(data) == [("1", "31", "rate", 0)]
    assert features(data) == {"31": {"title": "American President, The (1995)", "genres": ["Comedy", "Drama"]}}


@pytest.mark.slow
def test_movielens_1m(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::1193::5::1700000000\n")
    (tmp_path / "movies.dat").write_bytes("1193::Misérables, Les (1995)::Drama|Musical\n".encode("latin-1"))
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n")
    data = imported(tmp_path, "movielens")
    assert rows(data) == [("1", "1193", "rate", 0)]
    assert data.title("1193") == "Misérables, Les (1995)"
    assert data.users[0].features == {"gender": "F", "age": "1", "occupation": "10"}


@pytest.mark.slow
def test_movielens_100k(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("196\t242\t3\t1700000000\n")
    flags = ["0"] * 19
    flags[4] = flags[16] = "1"
    (tmp_path / "u.item").write_bytes(f"242|Amélie (2001)|01-Jan-2001||http://x|{'|'.join(flags)}\n".encode("latin-1"))
    data = imported(tmp_path, "movielens")
    assert rows(data) == [("196", "242", "rate", 0)]
    assert features(data) == {"242": {"title": "Amélie (2001)", "genres": ["Children's", "Thriller"]}}


@pytest.mark.slow
def test_segment(tmp_path: Path) -> None:
    common = {
        "messageId": "m1",
        "anonymousId": "anon",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "context": {"ip": "::1"},
    }
    viewed = {"product_id": "p1", "name": "Tea pot", "price": 12.5, "category": "Kitchen"}
    ordered = {
        "order_id": "o",
        "products": [{"product_id": "p1", "quantity": 2}, {"sku": "p2", "name": "Cup", "quantity": 1}],
    }
    lines(
        tmp_path / "calls.jsonl",
        {**common, "type": "track", "event": "Product Viewed", "properties": viewed},
        {
            **common,
            "messageId": "m2",
            "type": "track",
            "event": "Order Completed",
            "userId": "u",
            "properties": ordered,
        },
        {**common, "messageId": "m3", "type": "track", "event": "Signed Up", "properties": {"plan": "pro"}},
        {**common, "messageId": "m4", "type": "identify", "userId": "u", "traits": {"city": "Kiel", "email": "a@b"}},
        {**common, "messageId": "m5", "type": "page", "name": "Home"},
    )
    data = imported(tmp_path, "segment")
    assert sorted(rows(data)) == [
        ("anon", "p1", "product_viewed", 0),
        ("u", "p1", "order_completed", 0),
        ("u", "p2", "order_completed", 0),
    ]
    assert data.title("p2") == "Cup"
    assert data.users[0].features == {"city": "Kiel"}


@pytest.mark.slow
def test_ga4(tmp_path: Path) -> None:
    pot = {
        "item_id": "p1",
        "item_name": "Tea pot",
        "item_brand": "B",
        "item_category": "Kitchen",
        "price": 12.5,
        "quantity": 1,
    }
    common = {
        "event_date": "20231114",
        "user_id": None,
        "user_pseudo_id": "1.2",
        "event_params": [{"key": "ga_session_id", "value": {"int_value": "7"}}],
        "device": {"category": "mobile"},
        "geo": {"country": "Germany"},
    }
    lines(
        tmp_path / "events.jsonl",
        {
            **common,
            "event_timestamp": str(MS * 1000),
            "event_name": "view_item_list",
            "items": [pot, {"item_id": "p2"}],
        },
        {**common, "event_timestamp": str(MS * 1000 + 5000), "event_name": "add_to_cart", "items": [pot]},
        {**common, "event_timestamp": str(MS * 1000 + 9000), "event_name": "page_view", "items": []},
    )
    data = imported(tmp_path, "ga4")
    assert rows(data) == [("1.2", "p1", "add_to_cart", 5)]
    assert data.engagements.context[0] == {"device": "mobile", "country": "Germany"}
    assert data.impression(0).items == ["p1", "p2"]
    assert features(data)["p1"] == {"title": "Tea pot", "price": 12.5, "brand": "B", "category": "Kitchen"}


def snowplow_line(**values: str) -> str:
    names = FORMATS["snowplow"].layout("events.tsv").columns or ()
    return "\t".join(values.get(name, "") for name in names) + "\n"


@pytest.mark.slow
def test_snowplow(tmp_path: Path) -> None:
    iglu = "iglu:com.snowplowanalytics.snowplow.ecommerce"
    product = {
        "schema": f"{iglu}/product/jsonschema/1-0-0",
        "data": {"id": "P125", "name": 'Base"ball T', "price": 200},
    }
    page = {"schema": "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0", "data": {"id": "x"}}
    contexts = json.dumps({"schema": "iglu:contexts", "data": [page, product]})

    def action(kind: str) -> str:
        data = {"schema": f"{iglu}/snowplow_ecommerce_action/jsonschema/1-0-2", "data": {"type": kind}}
        return json.dumps({"schema": "iglu:unstruct_event", "data": data})

    common = {
        "domain_userid": "d1",
        "collector_tstamp": "2023-11-14 22:13:20.000",
        "contexts": contexts,
        "event": "unstruct",
    }
    (tmp_path / "enriched.tsv").write_text(
        snowplow_line(
            **common, event_id="e1", event_name="snowplow_ecommerce_action", unstruct_event=action("add_to_cart")
        )
        + snowplow_line(
            **common, event_id="e2", event_name="snowplow_ecommerce_action", unstruct_event=action("list_view")
        )
        + snowplow_line(
            user_id="u",
            collector_tstamp="2023-11-14 22:13:21.000",
            event="transaction_item",
            event_id="e3",
            ti_sku="S1",
        )
        + snowplow_line(**{**common, "event": "page_view"}, event_id="e4", event_name="page_view")
    )
    data = imported(tmp_path, "snowplow")
    assert rows(data) == [("d1", "P125", "add_to_cart", 0), ("u", "S1", "transaction", 1000)]
    assert data.impression(0).items == ["P125"]
    assert features(data)["P125"] == {"title": 'Base"ball T', "price": 200.0}


@pytest.mark.slow
def test_a_file_of_another_format_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    for format in ("metarank", "segment", "ga4", "recbole", "movielens", "gorse"):
        with pytest.raises(DataError, match=r"a\.csv"):
            imported(tmp_path, format)
    with pytest.raises(DataError, match=r"no format is called 'shopify'; known: gorse"):
        imported(tmp_path, "shopify")
