"""Maps of known formats: gorse, Metarank, RecBole, MovieLens, Segment and RudderStack, Google Analytics 4, Snowplow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from hsnn.streaming.datasets.base import DataError
from hsnn.streaming.datasets.imported.files import OpenedFile, TextLayout
from hsnn.streaming.datasets.imported.guess import column
from hsnn.streaming.datasets.imported.mapping import FileMap, TableMap


class Preset(NamedTuple):
    """A known format.

    Attributes
    ----------
    summary
        One line, with the names of the files.
    map_for
        Returns the map of the opened files.
    layout
        Returns how a text file of this name is laid out.
    """

    summary: str
    map_for: Callable[[Sequence[OpenedFile]], FileMap]
    layout: Callable[[str], TextLayout] = lambda _: TextLayout()


def _required(file: OpenedFile, *names: str) -> str:
    found = next((name for name in (column(file, wanted) for wanted in names) if name is not None), None)
    if found is None:
        raise DataError(f"{file.name} has no column {' or '.join(names)}; it has {', '.join(file.columns)}")
    return found


def _complete(name: str, needed: str, tables: dict[str, list[TableMap]]) -> FileMap:
    if not tables["events"]:
        raise DataError(f"none of the files holds events of {name}: {needed}")
    return FileMap(**tables)


def _of_each(field: str) -> str:
    """Return the expression of a text field of one product in a list of them."""
    return f"json_extract_string(each, '$.{field}')"


def _products(table: TableMap, *, title: str, features: Mapping[str, str]) -> TableMap:
    """Complete the table of items that events list: `title` and `features` name fields of a product, price a number."""
    columns = {name: _of_each(field) for name, field in features.items()}
    return msgspec.structs.replace(table, title=_of_each(title), features=columns, numbers=("price",))


def _tables() -> dict[str, list[TableMap]]:
    return {"events": [], "items": [], "users": [], "impressions": []}


# Labels of gorse are any JSON: an object of features, or a list.
_GORSE_LABELS = (
    "CASE json_type(TRY_CAST({0} AS JSON)) WHEN 'OBJECT' THEN {0} "
    "WHEN 'ARRAY' THEN CAST(json_object('labels', CAST({0} AS JSON)) AS VARCHAR) END"
)


def _gorse(files: Sequence[OpenedFile]) -> FileMap:
    tables = _tables()
    for file in files:
        labels = column(file, "labels")
        labelled = None if labels is None else _GORSE_LABELS.format(f'"{labels}"')
        if action := column(file, "feedback_type"):
            tables["events"].append(
                TableMap(
                    files=(file.name,),
                    user=_required(file, "user_id"),
                    item=_required(file, "item_id"),
                    ts=_required(file, "time_stamp", "timestamp"),
                    action=action,
                    value=column(file, "value"),
                )
            )
        elif item := column(file, "item_id"):
            categories = column(file, "categories")
            tables["items"].append(
                TableMap(
                    files=(file.name,),
                    id=item,
                    title=column(file, "description") or column(file, "comment"),
                    ts=column(file, "time_stamp"),
                    features={} if categories is None else {"categories": categories},
                    lists={} if categories is None else {"categories": "|" if file.dialect else "json"},
                    feature_object=labelled,
                )
            )
        else:
            tables["users"].append(TableMap(files=(file.name,), id=_required(file, "user_id"), feature_object=labelled))
    return _complete("gorse", "a column feedback_type (feedback.csv)", tables)


# Fields of Metarank are a list of names and values.
_METARANK_FIELDS = (
    "TRY(to_json(map_from_entries([{'k': json_extract_string(f, 'name'), 'v': json_extract(f, 'value')} "
    "for f in json_extract(fields, '$[*]')])))"
)


def _metarank(files: Sequence[OpenedFile]) -> FileMap:
    tables = _tables()
    for file in files:
        names = (file.name,)
        fields = _METARANK_FIELDS if "fields" in file.columns else None
        visitor = "user" if "session" not in file.columns else "coalesce(nullif(user, ''), session)"
        if "event" not in file.columns or "item" not in file.columns:
            raise DataError(f"{file.name} has no fields event and item; it has {', '.join(file.columns)}")
        impression = "ranking" if "ranking" in file.columns else None
        tables["events"].append(
            TableMap(
                files=names,
                where="event = 'interaction'",
                user=visitor,
                item="item",
                ts="timestamp",
                action="type",
                id="id",
                impression=impression,
            )
        )
        tables["items"].append(
            TableMap(
                files=names,
                where="event = 'item'",
                id="item",
                ts="timestamp",
                title=None if fields is None else f"json_extract_string({fields}, '$.title')",
                feature_object=fields,
            )
        )
        tables["users"].append(
            TableMap(files=names, where="event = 'user'", id=visitor, ts="timestamp", feature_object=fields)
        )
        if "items" in file.columns:
            tables["impressions"].append(
                TableMap(
                    files=names,
                    where="event = 'ranking'",
                    user=visitor,
                    items="to_json(TRY(json_extract_string(items, '$[*].id')))",
                    ts="timestamp",
                    id="id",
                )
            )
    return _complete("Metarank", "JSON lines with a field event", tables)


def _recbole(files: Sequence[OpenedFile]) -> FileMap:
    tables = _tables()
    for file in files:
        kinds = {name.partition(":")[0]: (name, name.partition(":")[2]) for name in file.columns}
        ending = file.name.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
        if ending == "inter":
            columns = {name: pair[0] for name, pair in kinds.items()}
            tables["events"].append(
                TableMap(
                    files=(file.name,),
                    user=_required(file, "user_id"),
                    item=_required(file, "item_id", "product_id", "artist_id"),
                    ts=_required(file, "timestamp"),
                    action="'rate'" if "rating" in columns else "'interact'",
                    value=columns.get("rating"),
                )
            )
            continue
        if ending not in ("item", "user"):
            raise DataError(f"{file.name} does not end with .inter, .item or .user, as files of RecBole do")
        key = next(iter(file.columns))
        title = next(
            (pair[0] for name, pair in kinds.items() if "title" in name or name in ("name", "item_name")), None
        )
        rest = {name: pair for name, pair in kinds.items() if pair[0] not in (key, title)}
        table = TableMap(
            files=(file.name,),
            id=key,
            title=title if ending == "item" else None,
            features={name: pair[0] for name, pair in rest.items()},
            numbers=tuple(name for name, pair in rest.items() if pair[1] == "float"),
            lists={name: " " for name, pair in rest.items() if pair[1].endswith("_seq")},
        )
        tables["items" if ending == "item" else "users"].append(table)
    return _complete("RecBole", "a file that ends with .inter", tables)


_ML_100K = {
    "u.data": TextLayout("\t", False, ("user_id", "item_id", "rating", "timestamp")),
    "u.item": TextLayout("|", False, ("movie_id", "title", "release_date", "video_release_date", "url")),
    "u.user": TextLayout("|", False, ("user_id", "age", "gender", "occupation", "zip_code")),
}
_ML_1M = {
    "ratings.dat": TextLayout("::", False, ("user_id", "movie_id", "rating", "timestamp")),
    "movies.dat": TextLayout("::", False, ("movie_id", "title", "genres")),
    "users.dat": TextLayout("::", False, ("user_id", "gender", "age", "occupation", "zip_code")),
}
_ML_LAYOUTS = _ML_100K | _ML_1M

# The columns of u.item after those with names: one flag per genre.
_ML_GENRES = (
    "unknown,Action,Adventure,Animation,Children's,Comedy,Crime,Documentary,Drama,Fantasy,Film-Noir,Horror,Musical,Mystery,"
    "Romance,Sci-Fi,Thriller,War,Western"
)


def _movielens(files: Sequence[OpenedFile]) -> FileMap:
    tables = _tables()
    for file in files:
        names = (file.name,)
        if (rating := column(file, "rating")) is not None:
            tables["events"].append(
                TableMap(
                    files=names,
                    user=_required(file, "user_id"),
                    item=_required(file, "movie_id", "item_id"),
                    ts=_required(file, "timestamp"),
                    action="'rate'",
                    value=rating,
                )
            )
        elif "column24" in file.columns:  # u.item, with its 19 flags
            flags = ", ".join(
                "CASE WHEN column{} = '1' THEN '{}' END".format(number, genre.replace("'", "''"))
                for number, genre in enumerate(_ML_GENRES.split(","), 6)
            )
            tables["items"].append(
                TableMap(
                    files=names,
                    id="movie_id",
                    title="title",
                    features={"genres": f"to_json([g for g in [{flags}] if g IS NOT NULL])"},
                    lists={"genres": "json"},
                )
            )
        elif (genres := column(file, "genres")) is not None:
            tables["items"].append(
                TableMap(
                    files=names,
                    id=_required(file, "movie_id"),
                    title=_required(file, "title"),
                    features={"genres": genres},
                    lists={"genres": "|"},
                )
            )
        elif column(file, "occupation") is not None:
            features = {name: name for name in ("age", "gender", "occupation")}
            tables["users"].append(TableMap(files=names, id="user_id", features=features))
        else:
            raise DataError(f"{file.name} is none of MovieLens' files of ratings, movies or users; leave it out")
    return _complete("MovieLens", "ratings.csv, ratings.dat or u.data", tables)


# A track call is about the products of its list, or about one product.
_TRACK_PRODUCTS = (
    "CASE WHEN json_type(json_extract(properties, '$.products')) = 'ARRAY' THEN json_extract(properties, '$.products') "
    "ELSE json_array(CAST(properties AS JSON)) END"
)
_TRACK_ITEM = f"coalesce({_of_each('product_id')}, {_of_each('sku')}, {_of_each('item_id')})"


def _segment(files: Sequence[OpenedFile]) -> FileMap:
    tables = _tables()
    for file in files:
        if "properties" not in file.columns or "event" not in file.columns:
            raise DataError(f"{file.name} has no fields event and properties; it has {', '.join(file.columns)}")
        names = (file.name,)
        people = [name for name in ("userId", "anonymousId") if name in file.columns]
        named = ", ".join(f"nullif({name}, '')" for name in people)
        user = f"coalesce({named})" if people else "userId"
        ts = next(
            (name for name in ("timestamp", "originalTimestamp", "receivedAt") if name in file.columns), "timestamp"
        )
        track = f"type = 'track' AND {_TRACK_ITEM.replace('each', _TRACK_FIRST)} IS NOT NULL"
        tables["events"].append(
            TableMap(
                files=names,
                where=track,
                each=_TRACK_PRODUCTS,
                user=user,
                item=_TRACK_ITEM,
                ts=ts,
                action="lower(replace(event, ' ', '_'))",
                value=_of_each("quantity"),
                id="messageId" if "messageId" in file.columns else None,
                context={"channel": "channel"} if "channel" in file.columns else {},
            )
        )
        tables["items"].append(
            _products(
                TableMap(files=names, where=track, each=_TRACK_PRODUCTS, id=_TRACK_ITEM, ts=ts),
                title="name",
                features={
                    "price": "price",
                    "brand": "brand",
                    "category": "category",
                    "variant": "variant",
                    "image": "image_url",
                },
            )
        )
        if "traits" in file.columns:
            tables["users"].append(
                TableMap(files=names, where="type = 'identify'", id=user, ts=ts, feature_object=_TRAITS)
            )
    return _complete("Segment", "JSON lines of track calls", tables)


_TRACK_FIRST = "coalesce(json_extract(properties, '$.products[0]'), CAST(properties AS JSON))"

# Names, addresses and telephone numbers of people are no features.
_TRAITS = (
    'json_merge_patch(TRY_CAST(traits AS JSON), \'{"email": null, "name": null, "firstName": null, '
    '"lastName": null, "phone": null, "address": null, "birthday": null, "username": null, "avatar": null}\')'
)

# Events of Google Analytics that show items, and those in which nobody acts on one.
_GA4_LISTS = "('view_item_list', 'view_promotion', 'view_search_results')"


def _ga4(files: Sequence[OpenedFile]) -> FileMap:
    tables = _tables()
    for file in files:
        if "event_name" not in file.columns or "items" not in file.columns:
            raise DataError(f"{file.name} has no fields event_name and items; it has {', '.join(file.columns)}")
        names = (file.name,)
        user = "coalesce(nullif(user_id, ''), user_pseudo_id)" if "user_id" in file.columns else "user_pseudo_id"
        context = {
            name: f"json_extract_string({parent}, '$.{field}')"
            for name, parent, field in (("device", "device", "category"), ("country", "geo", "country"))
            if parent in file.columns
        }
        tables["events"].append(
            TableMap(
                files=names,
                where=f"event_name NOT IN {_GA4_LISTS}",
                each="items",
                user=user,
                item=_of_each("item_id"),
                ts="event_timestamp",
                action="event_name",
                value=_of_each("quantity"),
                context=context,
            )
        )
        tables["items"].append(
            _products(
                TableMap(files=names, each="items", id=_of_each("item_id"), ts="event_timestamp"),
                title="item_name",
                features={"price": "price", "brand": "item_brand", "category": "item_category"},
            )
        )
        tables["impressions"].append(
            TableMap(
                files=names,
                where=f"event_name IN {_GA4_LISTS}",
                user=user,
                items="to_json(json_extract_string(items, '$[*].item_id'))",
                ts="event_timestamp",
                context=context,
            )
        )
    return _complete("Google Analytics 4", "rows of the BigQuery export", tables)


# Of the TSV files, which have no header.
_SNOWPLOW_HEADER = (
    "app_id platform etl_tstamp collector_tstamp dvce_created_tstamp event event_id txn_id name_tracker "
    "v_tracker v_collector v_etl user_id user_ipaddress user_fingerprint domain_userid domain_sessionidx "
    "network_userid geo_country geo_region geo_city geo_zipcode geo_latitude geo_longitude geo_region_name "
    "ip_isp ip_organization ip_domain ip_netspeed page_url page_title page_referrer page_urlscheme "
    "page_urlhost page_urlport page_urlpath page_urlquery page_urlfragment refr_urlscheme refr_urlhost "
    "refr_urlport refr_urlpath refr_urlquery refr_urlfragment refr_medium refr_source refr_term mkt_medium "
    "mkt_source mkt_term mkt_content mkt_campaign contexts se_category se_action se_label se_property se_value "
    "unstruct_event tr_orderid tr_affiliation tr_total tr_tax tr_shipping tr_city tr_state tr_country "
    "ti_orderid ti_sku ti_name ti_category ti_price ti_quantity pp_xoffset_min pp_xoffset_max pp_yoffset_min "
    "pp_yoffset_max useragent br_name br_family br_version br_type br_renderengine br_lang br_features_pdf "
    "br_features_flash br_features_java br_features_director br_features_quicktime br_features_realplayer "
    "br_features_windowsmedia br_features_gears br_features_silverlight br_cookies br_colordepth br_viewwidth "
    "br_viewheight os_name os_family os_manufacturer os_timezone dvce_type dvce_ismobile dvce_screenwidth "
    "dvce_screenheight doc_charset doc_width doc_height tr_currency tr_total_base tr_tax_base tr_shipping_base "
    "ti_currency ti_price_base base_currency geo_timezone mkt_clickid mkt_network etl_tags dvce_sent_tstamp "
    "refr_domain_userid refr_dvce_tstamp derived_contexts domain_sessionid derived_tstamp event_vendor "
    "event_name event_format event_version event_fingerprint true_tstamp"
)
_SNOWPLOW_PRODUCTS = (
    "to_json([json_extract(c, '$.data') for c in json_extract(contexts, '$.data[*]') "
    "if json_extract_string(c, '$.schema') LIKE '%/product/jsonschema/%'])"
)
_SNOWPLOW_ACTION = "json_extract_string(unstruct_event, '$.data.data.type')"


def _snowplow(files: Sequence[OpenedFile]) -> FileMap:
    tables = _tables()
    user = "coalesce(nullif(user_id, ''), nullif(domain_userid, ''), nullif(network_userid, ''))"
    ts = "coalesce(nullif(derived_tstamp, ''), collector_tstamp)"
    product = _of_each("id")
    ecommerce = "event_name = 'snowplow_ecommerce_action'"
    for file in files:
        names = (file.name,)
        tables["events"] += [
            TableMap(
                files=names,
                where=f"{ecommerce} AND {_SNOWPLOW_ACTION} <> 'list_view'",
                each=_SNOWPLOW_PRODUCTS,
                user=user,
                item=product,
                ts=ts,
                action=_SNOWPLOW_ACTION,
                value=_of_each("quantity"),
                id="event_id",
                context={"device": "dvce_type", "country": "geo_country"},
            ),
            TableMap(
                files=names,
                where="event = 'transaction_item'",
                user=user,
                item="ti_sku",
                ts=ts,
                action="'transaction'",
                value="ti_quantity",
                id="event_id",
                context={"device": "dvce_type", "country": "geo_country"},
            ),
        ]
        tables["items"].append(
            _products(
                TableMap(files=names, where=ecommerce, each=_SNOWPLOW_PRODUCTS, id=product, ts=ts),
                title="name",
                features={name: name for name in ("price", "category", "brand", "currency")},
            )
        )
        tables["impressions"].append(
            TableMap(
                files=names,
                where=f"{ecommerce} AND {_SNOWPLOW_ACTION} = 'list_view'",
                user=user,
                items="to_json([json_extract_string(c, '$.data.id') for c in json_extract(contexts, '$.data[*]') "
                "if json_extract_string(c, '$.schema') LIKE '%/product/jsonschema/%'])",
                ts=ts,
                id="event_id",
            )
        )
    return _complete("Snowplow", "an enriched TSV file", tables)


FORMATS = {
    "gorse": Preset("gorse: feedback, items and users, as CSV or JSON lines", _gorse),
    "metarank": Preset("Metarank: JSON lines of item, user, ranking and interaction events", _metarank),
    "recbole": Preset("RecBole: .inter, .item and .user", _recbole, lambda _: TextLayout("\t", False)),
    "movielens": Preset(
        "MovieLens: ratings, movies and users of any edition",
        _movielens,
        lambda name: _ML_LAYOUTS.get(name, TextLayout()),
    ),
    "segment": Preset("Segment or RudderStack: JSON lines of track and identify calls", _segment),
    "ga4": Preset("Google Analytics 4: rows of the BigQuery export, as JSON lines or Parquet", _ga4),
    "snowplow": Preset(
        "Snowplow: enriched events as TSV, of the e-commerce plug-in or of transactions",
        _snowplow,
        lambda _: TextLayout("\t", False, tuple(_SNOWPLOW_HEADER.split())),
    ),
}
"""Known formats by name."""
