"""Serving: mirror of the index in memory, retrieval over it, its synchronisation with Redis, HTTP API and client."""
