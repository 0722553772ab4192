"""Retrieval over a mirror: filters, modes, exact search, top-k."""
