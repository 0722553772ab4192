"""Open the event log at an address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from hsnn.streaming.config import SCHEMES_PACKAGE, log_schemes
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
    if parts.scheme not in log_schemes():
        known = ", ".join(f"{scheme}://" for scheme in log_schemes())
        raise LogUrlError(
            f"{mask_secrets(url)!r} is no log; write kafka://HOST:PORT or redis://HOST:PORT/DB (known: {known})"
        )
    options = _from_environment(dict(parse_qsl(parts.query, keep_blank_values=True)), os.environ)
    opened: EventLog = import_module(f"{SCHEMES_PACKAGE}.{parts.scheme}").open_address(parts, options, retry_policy)
    return opened


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
