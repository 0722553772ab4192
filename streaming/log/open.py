"""Open the event log at an address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from hsnn.streaming.config import LOG_SCHEMES
from hsnn.streaming.errors import LogUrlError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.retrying import RetryingLog
from hsnn.streaming.retry import RetryPolicy

# Parts of the names of options whose values are not printed.
_SECRETS = ("password", "secret", "token")


def open_log(url: str, retry_policy: RetryPolicy | None = None) -> EventLog:
    """Connect to the log at `url`.

    ``kafka://HOST:PORT[,HOST:PORT...]?option=value&...`` passes its options to kafka-python
    (``security_protocol=SASL_SSL``, ``sasl_mechanism=SCRAM-SHA-512``, ``ssl_cafile=...``);
    ``redis://`` and ``rediss://`` pass theirs to redis-py, except ``retention=RECORDS``.
    ``NAME_env=VARIABLE`` takes the value of option NAME from the environment, so that no password need be in the
    address: ``sasl_plain_password_env=KAFKA_PASSWORD``.

    With a `retry_policy` the log waits for its server while that is unavailable.

    Raises
    ------
    LogUrlError
        The address or an option of it is not usable.
    LogUnavailableError
        No server answers there.
    """
    log = _open(url, retry_policy or RetryPolicy(0.0))
    return log if retry_policy is None else RetryingLog(log, retry_policy)


def _open(url: str, retry_policy: RetryPolicy) -> EventLog:
    parts = urlsplit(url)
    options = _from_environment(dict(parse_qsl(parts.query, keep_blank_values=True)), os.environ)
    if parts.scheme == "kafka":
        from hsnn.streaming.log.kafka.log import KafkaLog

        return KafkaLog(_servers(parts.netloc, url), retry_policy, **options)
    if parts.scheme in LOG_SCHEMES:
        from hsnn.streaming.log.redis.log import RedisLog

        retention = options.pop("retention", None)
        rest = urlunsplit(parts._replace(query=urlencode(options)))
        records = None if retention is None else _positive_integer("retention", retention)
        return RedisLog(rest, retention=records, retry_policy=retry_policy)
    raise LogUrlError(f"{mask_secrets(url)!r} is no log; write kafka://HOST:PORT or redis://HOST:PORT/DB")


def mask_secrets(url: str) -> str:
    """Replace the passwords in an address and in its options, so that it can be printed.

    Examples
    --------
    >>> mask_secrets("kafka://broker:9092?sasl_plain_username=me&sasl_plain_password=hush")
    'kafka://broker:9092?sasl_plain_username=me&sasl_plain_password=***'
    >>> mask_secrets("redis://me:hush@host:6379/0")
    'redis://me:***@host:6379/0'
    """
    parts = urlsplit(url)
    user, separator, host = parts.netloc.rpartition("@")
    if ":" in user:
        user = user.split(":", 1)[0] + ":***"
    options = [(name, "***" if _is_secret(name) else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(netloc=user + separator + host, query=urlencode(options, safe="*/:,")))


def _is_secret(option: str) -> bool:
    return any(word in option for word in _SECRETS) and not option.endswith("_env")


def _from_environment(options: dict[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for name, value in options.items():
        if name.endswith("_env"):
            if value not in environment:
                raise LogUrlError(f"option {name} of the log names the environment variable {value}, which is not set")
            name, value = name.removesuffix("_env"), environment[value]
        values[name] = value
    return values


def _servers(netloc: str, url: str) -> list[str]:
    servers = [server for server in netloc.split(",") if server]
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdigit() or "@" in host:
            raise LogUrlError(
                f"{mask_secrets(url)!r}: {server.rpartition('@')[2]!r} is not HOST:PORT; "
                "a login goes into the options sasl_plain_username and sasl_plain_password_env"
            )
    if not servers:
        raise LogUrlError(f"{mask_secrets(url)!r} names no broker; write kafka://HOST:PORT")
    return servers


def _positive_integer(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise LogUrlError(f"option {name} of the log must be a whole number above 0, not {text!r}")
    return int(text)
