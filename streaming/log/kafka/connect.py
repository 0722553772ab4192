"""Connecting of kafka-python's clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def connect_client(kind: Any, options: Mapping[str, Any]) -> Any:
    """Make a client of this class; where that fails, stop the thread that was started for it.

    kafka-python 3.0.12 starts the thread first, then asks the brokers: a client whose brokers do not answer raises, is
    returned to nobody, and its thread goes on trying, one more with every attempt.
    """
    opened = []

    def open_client(**settings: Any) -> Any:
        opened.append(kind.DEFAULT_CONFIG["kafka_client"](**settings))
        return opened[0]

    try:
        return kind(**options, kafka_client=open_client)
    except BaseException:
        for client in opened:
            client.close()
        raise
