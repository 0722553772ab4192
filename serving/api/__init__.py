"""HTTP API: server and client."""
