"""Checks of the event log: whether it answers, its topics, and the codecs that its records may need."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from hsnn.config.masking import mask_address
from hsnn.config.schema import Config
from hsnn.doctor.finding import Finding
from hsnn.streaming.errors import UnknownTopicError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log


def check_event_log(config: Config) -> Iterator[Finding]:
    """Check the event log, which must answer."""
    address = mask_address(config.streaming.log)
    opened = open_log(config.streaming.log)
    try:
        yield Finding("log", "ok", f"{address} answers")
        yield check_topics(opened, config)
    finally:
        opened.close()
    if config.streaming.log.startswith("kafka://"):
        yield check_codecs()


def check_topics(log: EventLog, config: Config) -> Finding:
    """Check that the topics exist: one that does not is created by whoever comes first, or is misspelt."""
    streaming = config.streaming
    names = (streaming.engagements_topic, streaming.items_topic, streaming.users_topic, streaming.control_topic)
    counts = {name: _partitions(log, name) for name in names}
    missing = [name for name, count in counts.items() if count == 0]
    if missing:
        text = (
            f"{', '.join(missing)} do not exist; a trainer or `hsnn produce` creates them with "
            f"{streaming.partitions} partitions. If your producers have written already, compare the names of "
            "streaming.*_topic"
        )
        return Finding("topics", "warn", text)
    return Finding("topics", "ok", ", ".join(f"{name} ({count} partitions)" for name, count in counts.items()))


def check_codecs() -> Finding:
    """Check that every compression of Kafka can be read: which one is used is the choice of each producer."""
    from kafka import codec

    missing = [name for name in ("gzip", "snappy", "lz4", "zstd") if not getattr(codec, f"has_{name}")()]
    if missing:
        text = f"{', '.join(missing)} cannot be read, as a trainer must; run `pip install 'hsnn[train]'`"
        return Finding("codecs", "fail" if find_spec("torch") else "warn", text)  # a server reads no events
    return Finding("codecs", "ok", "gzip, snappy, lz4 and zstd can be read")


def _partitions(log: EventLog, topic: str) -> int:
    try:
        return len(log.partitions(topic))
    except UnknownTopicError:
        return 0
