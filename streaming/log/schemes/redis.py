"""``redis://HOST:PORT/DB?option=value``: Redis Streams; the options are redis-py's, and ``retention=RECORDS``."""

from __future__ import annotations

from urllib.parse import SplitResult, urlencode, urlunsplit

from hsnn.streaming.errors import LogUrlError
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.retry import RetryPolicy


def open_address(address: SplitResult, options: dict[str, str], retry_policy: RetryPolicy) -> RedisLog:
    """Connect to the server of an address; see `hsnn.streaming.log.open.open_log` for the errors."""
    for_client = {name: value for name, value in options.items() if name != "retention"}
    retention = _positive_integer("retention", options["retention"]) if "retention" in options else None
    url = urlunsplit(address._replace(query=urlencode(for_client)))
    return RedisLog(url, retention=retention, retry_policy=retry_policy)


def _positive_integer(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise LogUrlError(f"option {name} of the log must be a whole number above 0, not {text!r}")
    return int(text)
