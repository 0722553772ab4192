"""Freshness benchmark: a producer, query load, and probes of single items, around the real processes."""
