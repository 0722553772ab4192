"""Partitions read, merged by event time and cut into deterministic batches."""
