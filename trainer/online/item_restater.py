"""ItemRestater: appends items to the items topic again where their last record does not say all that is known."""

from __future__ import annotations

from collections.abc import Iterable

from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.schema.item_life import KnownItem, restatement
from hsnn.trainer.metrics import RESTATED


class ItemRestater:
    """Appends whole items to a topic; see `hsnn.streaming.schema.item_life`.

    Applying one again changes nothing, so one that is appended twice, by a trainer that reads its batch again, does no
    harm.

    Parameters
    ----------
    log
    topic
        The items topic.
    """

    def __init__(self, log: EventLog, topic: str) -> None:
        self._log_of_items, self._topic = log, topic
        self._unflushed = False

    def append(self, items: Iterable[tuple[str, KnownItem]]) -> None:
        """Append items, by id; of an item that is there several times the last counts."""
        records = []
        for name, record in dict(items).items():
            value, ts = restatement(name, record)
            headers = () if value is not None else (("ts", str(ts).encode()),)
            records.append(ProducerRecord(name.encode(), value, headers))
        if records:
            self._log_of_items.append(self._topic, records)
            self._unflushed = True
            RESTATED.inc(len(records))

    def flush(self) -> None:
        """Wait until all is durable: a checkpoint behind the events that led there must not be written before."""
        if self._unflushed:
            self._log_of_items.flush()
            self._unflushed = False
