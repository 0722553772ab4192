"""Clients of the HTTP API, for threads and for asyncio."""
