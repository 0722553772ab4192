"""Synchronisation of an item catalogue with the trainer's streams."""

from __future__ import annotations

import logging

import msgspec
from safetensors import SafetensorError

from hsnn.indexer.assign.catalogue import ItemCatalogue
from hsnn.indexer.metrics import UNREADABLE
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.streams import StreamEntry, scan_entries
from hsnn.trainer.messages import Feed, StateDelta

_log = logging.getLogger(__name__)


def apply_entry(catalogue: ItemCatalogue, store: IndexReader, entry: StreamEntry) -> None:
    """Apply an entry of feed or state stream to the catalogue; count, log and skip one that cannot be read."""
    try:
        if entry.stream == store.key("feed"):
            catalogue.feed_id = entry.id
            catalogue.apply_feed(Feed.decode(entry.fields[b"d"]))
        elif entry.stream == store.key("state"):
            catalogue.state_id = entry.id
            catalogue.apply_state_delta(StateDelta.decode(entry.fields[b"d"]))
    except (msgspec.MsgspecError, SafetensorError, KeyError, TypeError, ValueError) as error:
        UNREADABLE.inc()
        _log.error("entry %s of %s cannot be read and is skipped: %s", entry.id, entry.stream, error)


def catch_up(catalogue: ItemCatalogue, store: IndexReader) -> int:
    """Apply all entries of feed and states that there are; return how many."""
    count = 0
    for stream, after in ((store.key("feed"), catalogue.feed_id), (store.key("state"), catalogue.state_id)):
        for entry in scan_entries(store.redis, stream, after):
            apply_entry(catalogue, store, entry)
            count += 1
    return count
