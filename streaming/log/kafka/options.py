"""Options of a ``kafka://`` address, converted from text to the types that each client of kafka-python takes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from hsnn.streaming.errors import LogUrlError

# These options are set by the contract of `EventLog` and cannot be chosen.
_FIXED = {
    "bootstrap_servers",
    "group_id",
    "enable_auto_commit",
    "auto_offset_reset",
    "isolation_level",
    "acks",
    "key_deserializer",
    "value_deserializer",
    "key_serializer",
    "value_serializer",
    "consumer_timeout_ms",
    "partitioner",
}

# Clients by their kind; each has options of its own.
_CLIENTS: dict[str, Any] = {"admin": KafkaAdminClient, "consumer": KafkaConsumer, "producer": KafkaProducer}
# Texts of a boolean option, in lower case.
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


def client_options(options: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Convert options and return those of each client: ``admin``, ``consumer``, ``producer``.

    Raises
    ------
    LogUrlError
        No client knows an option, it cannot be set, or its value is of the wrong type.

    Examples
    --------
    >>> client_options({"linger_ms": "20"})["producer"]
    {'linger_ms': 20}
    """
    known: dict[str, Any] = {}
    for client in _CLIENTS.values():
        known |= {name: default for name, default in client.DEFAULT_CONFIG.items() if name not in _FIXED}
    typed = {name: _convert(name, text, known) for name, text in options.items()}
    return {
        kind: {name: value for name, value in typed.items() if name in client.DEFAULT_CONFIG}
        for kind, client in _CLIENTS.items()
    }


def _convert(name: str, text: str, known: Mapping[str, Any]) -> Any:
    if name in _FIXED:
        raise LogUrlError(f"option {name} of the log cannot be set: positions live in the checkpoint, never in Kafka")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"did you mean {near[0]}?" if near else "see the options of kafka-python's KafkaConsumer and KafkaProducer"
        )
        raise LogUrlError(f"kafka-python has no option {name}; {hint}")
    default = known[name]
    try:
        if isinstance(default, bool):
            return _boolean(text)
        return type(default)(text) if isinstance(default, int | float) else text
    except ValueError:
        # The value may be a secret in the wrong place, so it is not shown.
        raise LogUrlError(f"option {name} of the log must be a {type(default).__name__}") from None


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError(text)
