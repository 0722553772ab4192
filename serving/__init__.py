"""Requests out: mirror of the index, retrieval over it, filters, HTTP API, client."""
