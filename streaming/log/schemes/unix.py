"""``unix:///PATH?option=value``: Redis Streams over a Unix domain socket."""

from hsnn.streaming.log.schemes.redis import open_address

__all__ = ["open_address"]
