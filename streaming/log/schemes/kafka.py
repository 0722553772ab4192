"""``kafka://HOST:PORT[,HOST:PORT...]?option=value``: Apache Kafka; the options are kafka-python's."""

from __future__ import annotations

from urllib.parse import SplitResult

from hsnn.streaming.errors import LogUrlError
from hsnn.streaming.log.kafka.log import KafkaLog
from hsnn.streaming.retry import RetryPolicy


def open_address(address: SplitResult, options: dict[str, str], retry_policy: RetryPolicy) -> KafkaLog:
    """Connect to the brokers of an address; see `hsnn.streaming.log.open.open_log` for the errors."""
    return KafkaLog(_brokers(address.netloc), retry_policy, **options)


def _brokers(netloc: str) -> list[str]:
    brokers = [broker for broker in netloc.split(",") if broker]
    hidden = "'kafka://" + netloc.rpartition("@")[2] + "'"
    for broker in brokers:
        host, _, port = broker.rpartition(":")
        if not host or not port.isdigit() or "@" in host:
            raise LogUrlError(
                f"{hidden}: {broker.rpartition('@')[2]!r} is not HOST:PORT; "
                "a login goes into the options sasl_plain_username and sasl_plain_password_env"
            )
    if not brokers:
        raise LogUrlError(f"{hidden} names no broker; write kafka://HOST:PORT")
    return brokers
