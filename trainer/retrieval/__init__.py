"""Retrieval kernels on arrays, without torch: inverted lists and score bounds, for trainer, server and evaluation."""
