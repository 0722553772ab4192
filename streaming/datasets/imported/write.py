"""Write the staged tables: events in order of time, the catalogue with the times at which its items arrive."""

from __future__ import annotations

from pathlib import Path

from hsnn.streaming.datasets.imported.sql import ImportDatabase, literal
from hsnn.streaming.datasets.imported.store import EVENTS, IMPRESSIONS, ITEMS, USERS

# Rows that are sorted and compressed together: small beside the memory limit, large beside the cost per group.
_ROW_GROUP = 200_000

# When a described item `d`, first seen in `s`, arrives: not before the stream begins, or it would be idle all the time
# until then.
_START = "(SELECT min(first) - 1 FROM seen)"
_ARRIVAL = f"greatest({_START}, least(coalesce(d.ts, {_START}), coalesce(s.first - 1, d.ts, {_START})))"


def write_tables(con: ImportDatabase, folder: Path) -> tuple[int, int]:
    """Write the files of a data set.

    Described items arrive at the time that they have, but at the latest 1 ms before their first event, and at the
    earliest 1 ms before the first event of all; without a time, then. Items that only events name arrive 1 ms before
    their first event. Described users arrive by the same rule.

    Returns
    -------
    duplicates, dangling
        Events left out since an event of the same id, user, item and action came before; events that name an
        impression that there is none of.
    """
    con.execute(
        "CREATE TABLE shown AS SELECT row_number() OVER (ORDER BY ts, part, row) - 1 AS number, ts, user, items, id, "
        "context FROM staged_impressions WHERE reason IS NULL"
    )
    duplicates = _mark_duplicates(con)
    links = con.execute("SELECT count(*) > 0 FROM shown")[0][0]
    if links:
        con.execute(
            "CREATE TABLE links AS SELECT id, min(number) AS number FROM shown WHERE id IS NOT NULL GROUP BY id"
        )
    link, join = ("coalesce(l.number, -1)", "LEFT JOIN links l ON e.impression = l.id") if links else ("-1", "")
    _copy(
        con,
        "SELECT e.ts, e.user, e.item, e.action, CAST(coalesce(e.value, 'nan'::DOUBLE) AS FLOAT) AS value, e.context, "
        f"CAST({link} AS BIGINT) AS link FROM staged_events e {join} WHERE e.reason IS NULL "
        "ORDER BY e.ts, e.part, e.row",
        folder / EVENTS,
    )
    _copy(con, "SELECT ts, user, items, id, context FROM shown ORDER BY number", folder / IMPRESSIONS)
    _write_items(con, folder)
    _write_users(con, folder)
    dangling = 0
    if links:
        dangling = con.execute(
            "SELECT count(*) FROM staged_events e ANTI JOIN links l ON e.impression = l.id "
            "WHERE e.reason IS NULL AND e.impression IS NOT NULL"
        )[0][0]
    return duplicates, int(dangling)


def _mark_duplicates(con: ImportDatabase) -> int:
    if not con.execute("SELECT count(id) > 0 FROM staged_events")[0][0]:
        return 0
    con.execute(
        "UPDATE staged_events SET reason = 'copy' FROM (SELECT part AS p, row AS r, row_number() OVER "
        "(PARTITION BY id, user, item, action ORDER BY part, row) AS copy FROM staged_events "
        "WHERE reason IS NULL AND id IS NOT NULL QUALIFY copy > 1) WHERE part = p AND row = r"
    )
    return int(con.execute("SELECT count(*) FROM staged_events WHERE reason = 'copy'")[0][0])


def _write_items(con: ImportDatabase, folder: Path) -> None:
    con.execute(
        "CREATE TABLE seen AS SELECT item AS id, min(ts) AS first FROM (SELECT item, ts FROM staged_events "
        "WHERE reason IS NULL UNION ALL SELECT unnest(items), ts FROM shown) GROUP BY item"
    )
    # Of several descriptions of an item the newest counts, by their times and then by their lines.
    newest = "{'ts': coalesce(ts, 0), 'part': part, 'row': row}"
    con.execute(
        f"CREATE TABLE described AS SELECT id, min(ts) AS ts, arg_max({{'t': title}}, {newest}).t AS title, "
        f"arg_max({{'f': features}}, {newest}).f AS features, "
        f"arg_max({{'a': available_from}}, {newest}).a AS available_from, "
        f"arg_max({{'e': expires_at}}, {newest}).e AS expires_at, min(part) AS part, min(row) AS row "
        "FROM staged_items WHERE reason IS NULL GROUP BY id"
    )
    _copy(
        con,
        f"SELECT coalesce(d.id, s.id) AS id, CASE WHEN d.id IS NULL THEN s.first - 1 ELSE {_ARRIVAL} END AS ts, "
        "d.title, d.available_from, d.expires_at, d.features "
        "FROM described d FULL JOIN seen s ON d.id = s.id ORDER BY 2, d.part, d.row, s.first, 1",
        folder / ITEMS,
    )


def _write_users(con: ImportDatabase, folder: Path) -> None:
    con.execute(
        "CREATE TABLE acted AS SELECT user AS id, min(ts) AS first FROM (SELECT user, ts FROM staged_events "
        "WHERE reason IS NULL UNION ALL SELECT user, ts FROM shown) GROUP BY user"
    )
    newest = "{'ts': coalesce(ts, 0), 'part': part, 'row': row}"
    _copy(
        con,
        f"SELECT d.id, {_ARRIVAL} AS ts, d.features FROM "
        f"(SELECT id, min(ts) AS ts, arg_max({{'f': features}}, {newest}).f AS features, min(part) AS part, "
        "min(row) AS row FROM staged_users WHERE reason IS NULL GROUP BY id) d LEFT JOIN acted s ON d.id = s.id "
        "ORDER BY 2, d.part, d.row",
        folder / USERS,
    )


def _copy(con: ImportDatabase, query: str, path: Path) -> None:
    con.execute(f"COPY ({query}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})")
