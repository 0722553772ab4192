"""Checkpoint benchmark: pauses with large tables, and the cost in throughput."""
