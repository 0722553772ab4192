"""Many entries of a stream: the server reads the next ones while these are taken apart."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import redis

from streaming.redis_entry import offset_of

AT_ONCE = 1024
"""Entries of one answer."""


def read_on(client: Any, stream: str, after: int, count: int) -> list[Any]:
    """Read about `count` entries behind entry ``0-after``, without a gap, and without waiting for any.

    What goes wrong only ends it: whoever reads on from there meets the same.

    Parameters
    ----------
    client
        Of redis-py, with version 2 of the protocol.
    stream
        Key; its entries are numbered without gaps.
    after, count
    """
    entries: list[Any] = []
    pool = client.connection_pool
    with suppress(redis.RedisError):
        connection = pool.get_connection()
        try:
            _read(connection, stream, range(after, after + count, AT_ONCE), entries)
        except BaseException:
            connection.disconnect()  # an answer may be on its way
            raise
        finally:
            pool.release(connection)
    return entries


def _read(connection: Any, stream: str, places: range, entries: list[Any]) -> None:
    _ask(connection, stream, places[0])
    for place in places:
        more = place != places[-1]
        if more:
            _ask(connection, stream, place + AT_ONCE)
        some = _answer(connection)
        if some and offset_of(some[0][0]) == place:  # else a retention was faster
            entries += some
        if len(entries) < place + AT_ONCE - places[0]:
            if more:
                _answer(connection)  # of no use: there may be entries in between
            return


def _ask(connection: Any, stream: str, after: int) -> None:
    connection.send_command("XREAD", "COUNT", AT_ONCE, "STREAMS", stream, f"0-{after}")


def _answer(connection: Any) -> list[Any]:
    found = connection.read_response()
    return found[0][1] if found else []
