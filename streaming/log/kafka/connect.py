"""Connecting of kafka-python's clients."""

from __future__ import annotations

import logging
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any

import kafka.errors

from hsnn.streaming.log.kafka.errors import connection_hint

# Seconds for the TLS handshake that tells whether a port that closes plain connections speaks TLS.
_PROBE_SECONDS = 2.0

# Messages of kafka-python that are kept: some rounds of attempts.
_MESSAGES_KEPT = 50


class _Messages(logging.Handler):
    """Keeps the last messages about failed connections: the error itself says only that no broker was reached."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: deque[str] = deque(maxlen=_MESSAGES_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self._messages.append(record.getMessage())

    @property
    def text(self) -> str:
        """All that is kept."""
        return "\n".join(self._messages)


def connect_client(kind: Any, options: Mapping[str, Any]) -> Any:
    """Make a client of this class; where that fails, stop the thread that was started for it.

    kafka-python 3.0.12 starts the thread first, then asks the brokers: a client whose brokers do not answer raises, is
    returned to nobody, and its thread goes on trying, one more with every attempt. What is wrong it only logs; the
    error that is raised gets it as `hint`.
    """
    opened = []

    def open_client(**settings: Any) -> Any:
        opened.append(kind.DEFAULT_CONFIG["kafka_client"](**settings))
        return opened[0]

    messages, logger = _Messages(), logging.getLogger("kafka")
    logger.addHandler(messages)
    try:
        return kind(**options, kafka_client=open_client)
    except BaseException as error:
        for client in opened:
            client.close()
        if isinstance(error, kafka.errors.KafkaError):
            plain = options.get("security_protocol", "PLAINTEXT") in ("PLAINTEXT", "SASL_PLAINTEXT")
            tls = plain and bool(messages.text) and any(map(_speaks_tls, options.get("bootstrap_servers", ())))
            vars(error)["hint"] = connection_hint(messages.text, speaks_tls=tls)
        raise
    finally:
        logger.removeHandler(messages)


def _speaks_tls(server: str) -> bool:
    """Return whether a TLS handshake with HOST:PORT succeeds, whoever's certificate it shows."""
    host, _, port = server.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over this connection
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS) as plain:
            context.wrap_socket(plain).close()
    except ssl.SSLError as error:
        return error.reason not in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")
    except OSError:
        return False
    return True
