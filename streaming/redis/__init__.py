"""Redis as a server to connect to: the client and the names of keys."""
