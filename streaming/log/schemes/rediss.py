"""``rediss://HOST:PORT/DB?option=value``: Redis Streams over TLS."""

from hsnn.streaming.log.schemes.redis import open_address

__all__ = ["open_address"]
