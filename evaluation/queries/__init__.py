"""Sampled queries, batches of them scored against all items, and what a method returns for a batch."""
