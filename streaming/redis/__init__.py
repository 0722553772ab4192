"""Access to a Redis server: the client and the key names."""
