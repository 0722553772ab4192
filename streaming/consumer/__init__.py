"""Partitions read, merged in event-time order and cut into deterministic batches."""
