"""The page *Stream*: items that arrived and left, and dead letters with samples, which can be sent again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import msgspec

from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.audit import AuditTrail
from hsnn.serving.console.catalogue import title_of
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.dead_letters.preview import preview
from hsnn.streaming.dead_letters.reader import (
    DeadLetterFilter,
    StoredDeadLetter,
    count_dead_letters,
    read_dead_letters,
    topics_with_dead_letters,
)
from hsnn.streaming.dead_letters.replay import read_replayed, replay
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log

# Arrivals and departures that are listed.
_CHANGES_SHOWN = 120

# Entries read of a stream of deltas for them: moves are among the entries, too.
_ENTRIES_READ = 400

# Dead letters that are read for the counts: some seconds.
_MOST_LETTERS = 20_000

# Samples shown of each topic and reason, and bytes of a value.
_SAMPLES, _SAMPLE_BYTES = 3, 600

_ARRIVALS = ("new", "returned")
_DEPARTURES = ("expired", "deleted")


def item_changes(reader: IndexReader) -> list[dict[str, Any]]:
    """List the items that entered or left the index last, newest first, by the delta streams of the kept versions."""
    found: list[dict[str, Any]] = []
    for number in reversed(reader.versions()):
        for shard in reader.shards(number):
            entries: Any = reader.redis.xrevrange(shard.delta_stream, count=_ENTRIES_READ)
            found += [change for entry_id, fields in entries if (change := _change(entry_id, fields)) is not None]
        if len(found) >= _CHANGES_SHOWN:
            break
    return _without_repeats(found)[:_CHANGES_SHOWN]


def _without_repeats(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order changes newest first; an arrival is in the streams of two versions if it came while the second was built.

    Examples
    --------
    >>> arrived = {"item": "a", "arrived": True}
    >>> _without_repeats([arrived | {"at": 9}, arrived | {"at": 7}, {"item": "b", "arrived": True, "at": 8}])
    [{'item': 'b', 'arrived': True, 'at': 8}, {'item': 'a', 'arrived': True, 'at': 7}]
    """
    inside: dict[str, bool] = {}
    kept = []
    # Streams are read from their end: turned round, changes of the same moment keep the order of their stream.
    oldest_first = changes[::-1]
    oldest_first.sort(key=lambda change: int(change["at"]))
    for change in oldest_first:
        if inside.get(change["item"]) is not change["arrived"]:
            inside[change["item"]] = change["arrived"]
            kept.append(change)
    return kept[::-1]


def _change(entry_id: bytes, fields: dict[bytes, bytes]) -> dict[str, Any] | None:
    try:
        delta = Delta.decode(fields[b"d"])
    except (KeyError, msgspec.MsgspecError):
        return None  # of another release
    if delta.reason not in (*_ARRIVALS, *_DEPARTURES):
        return None
    return {
        "at": int(entry_id.partition(b"-")[0]),
        "item": delta.item,
        "title": title_of(delta.features),
        "arrived": delta.reason in _ARRIVALS,
        "reason": delta.reason,
        "node": delta.node if delta.node >= 0 else None,
    }


def dead_letters(config: StreamingConfig) -> dict[str, Any]:
    """Count dead letters per topic and reason, with a few samples of each.

    Raises
    ------
    StreamingError
        The log is not available.
    """
    with _opened(config) as log:
        topics = topics_with_dead_letters(log, config)
        letters = list(islice(read_dead_letters(log, topics), _MOST_LETTERS + 1))
        replayed = read_replayed(log, topics)
    more = len(letters) > _MOST_LETTERS
    letters = letters[:_MOST_LETTERS]
    samples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for letter in reversed(letters):
        shown = samples.setdefault((letter.topic, letter.reason), [])
        if len(shown) < _SAMPLES:
            shown.append(_sample(letter, replayed))
    counts = [
        {name: getattr(count, name) for name in ("topic", "reason", "first", "last", "letters", "replayed")}
        | {"samples": samples[count.topic, count.reason]}
        for count in count_dead_letters(letters, replayed)
    ]
    return {"counts": counts, "more": more}


def _sample(letter: StoredDeadLetter, replayed: set[str]) -> dict[str, Any]:
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "index": letter.index,
        "at": letter.record.sent_at,
        "detail": preview(letter.detail.encode(errors="replace"), _SAMPLE_BYTES),
        "value": preview(letter.record.value, _SAMPLE_BYTES),
        "replayed": letter.identity in replayed,
    }


def replay_dead_letters(config: StreamingConfig, audit: AuditTrail, topic: str, reason: str) -> dict[str, Any]:
    """Send the dead letters of a topic and reason back, each once; return how many were sent and why others were not.

    Raises
    ------
    StreamingError
        The log is not available, refuses records, or has no such topic.
    """
    with _opened(config) as log:
        topics = topics_with_dead_letters(log, config, topic)
        report = replay(log, topics, DeadLetterFilter(reason))
    sent = report.replayed.total()
    audit.record("replay", outcome="done", topic=topic, reason=reason, letters=sent)
    skipped = {str(why): count for why, count in report.skipped.items() if why != "not_wanted"}
    return {"replayed": sent, "skipped": skipped}


@contextmanager
def _opened(config: StreamingConfig) -> Iterator[EventLog]:
    log = open_log(config.log)
    try:
        yield log
    finally:
        log.close()
