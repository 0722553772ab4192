"""IndexStore: the index in Redis; the reading side is `indexer.reader.IndexReader`."""

from __future__ import annotations

from indexer.reader import IndexReader


class IndexStore(IndexReader):
    """Reads and, for the lease holder, writes versions and deltas."""
