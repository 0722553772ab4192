"""Translation of kafka-python's errors into the errors of `hsnn.streaming.errors`: outages, and what stays wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import kafka.errors

from hsnn.streaming.errors import LogRefusedError, LogUnavailableError, OutOfRangeError, UnknownTopicError

_AUTHENTICATION_ERRORS = (
    kafka.errors.SaslAuthenticationFailedError,
    kafka.errors.UnsupportedSaslMechanismError,
    kafka.errors.IllegalSaslStateError,
)
# Errors that another attempt meets again, and what mends them.
_REMEDIES: dict[tuple[type[Exception], ...], str] = {
    _AUTHENTICATION_ERRORS: "the brokers refuse the login: check sasl_mechanism, sasl_plain_username and the password",
    (kafka.errors.AuthorizationError,): (
        "this user lacks a right: allow it to read and describe the topics, to write and create the .dlq topics, and "
        "to read the group of `streaming.group`"
    ),
    (kafka.errors.UnsupportedCodecError,): (
        "the records are compressed by a codec that is not installed here: pip install 'hsnn[train]', or see "
        "`hsnn doctor`"
    ),
    (kafka.errors.UnsupportedVersionError,): "the brokers are too old: version 2.1 or newer is needed",
    (kafka.errors.InvalidTopicError,): "a name in streaming.*_topic is no name of a topic",
}
REFUSALS = (
    kafka.errors.MessageSizeTooLargeError,
    kafka.errors.RecordListTooLargeError,
    kafka.errors.AuthorizationError,
    kafka.errors.PolicyViolationError,
    kafka.errors.InvalidTopicError,
)
"""Errors of a record that no later attempt mends."""
# What kafka-python raises for options that it cannot use; while reading it may raise these in an outage.
_OPTION_ERRORS = (AssertionError, ValueError, TypeError)
CONNECTING = "connecting"
"""How operations begin that open a connection with the options."""
# Parts of what kafka-python logs when it cannot connect, and what they mean; the first that occurs counts.
_CONNECTING = {
    "CERTIFICATE_VERIFY_FAILED": (
        "the certificate of the broker is not trusted: set ssl_cafile to the certificate of its authority, and name "
        "the broker as the certificate does"
    ),
    "WRONG_VERSION_NUMBER": "the port does not speak TLS: set security_protocol=PLAINTEXT or SASL_PLAINTEXT",
    "No such file": "a file of ssl_cafile, ssl_certfile or ssl_keyfile does not exist",
    "SaslAuthentication": _REMEDIES[_AUTHENTICATION_ERRORS],
    "SaslMechanism": _REMEDIES[_AUTHENTICATION_ERRORS],
    "CERTIFICATE_REQUIRED": "the broker wants a certificate of the client: set ssl_certfile and ssl_keyfile",
}
SPEAKS_TLS = "the port speaks TLS: set security_protocol=SSL or SASL_SSL"
"""Remedy where a plain connection is closed and a TLS handshake succeeds."""


@contextmanager
def translate_errors(where: str, operation: str) -> Iterator[None]:
    """Turn errors of kafka-python into this project's; the text names the operation, the server and a remedy."""
    try:
        yield
    except (kafka.errors.OffsetOutOfRangeError, kafka.errors.LogTruncationError) as error:
        raise OutOfRangeError(
            f"{operation}: {where} no longer holds the records that come next ({error}); "
            "records were removed before they were read: raise the topic's retention.ms"
        ) from error
    except kafka.errors.UnknownTopicOrPartitionError as error:
        raise UnknownTopicError(f"{operation}: {where} has no such topic or partition ({error})") from error
    except (kafka.errors.KafkaError, OSError, ValueError, TypeError, AssertionError) as error:
        # errors of kafka-python begin with their name by themselves
        cause = f"{type(error).__name__}: {str(error).removeprefix(f'{type(error).__name__}: ')}"
        text = f"{operation}: {where} failed ({cause})"
        remedy = permanent_remedy(error)
        if isinstance(error, _OPTION_ERRORS) and operation.startswith(CONNECTING):
            remedy = "an option of `streaming.log` is wrong"
        if remedy is not None:
            raise LogRefusedError(f"{text}; {remedy}") from error
        hint = getattr(error, "hint", "") or (
            "check that the brokers run, that `streaming.log` names them, and its security_protocol, sasl_ and ssl_ "
            "options"
        )
        raise LogUnavailableError(f"{text}; {hint}") from error


def permanent_remedy(error: BaseException) -> str | None:
    """Return what to do about an error that another attempt would meet again; None for an outage."""
    for kinds, remedy in _REMEDIES.items():
        if isinstance(error, kinds):
            return remedy
    return None


def connection_hint(logged: str, *, speaks_tls: bool = False) -> str:
    """Say why no connection was made, from what kafka-python logged meanwhile; empty if that does not tell.

    Examples
    --------
    >>> connection_hint("Handshake failed: [SSL: WRONG_VERSION_NUMBER] wrong version number")
    'the port does not speak TLS: set security_protocol=PLAINTEXT or SASL_PLAINTEXT'
    """
    if speaks_tls:
        return SPEAKS_TLS
    return next((hint for part, hint in _CONNECTING.items() if part in logged), "")
