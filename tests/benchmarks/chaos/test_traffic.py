"""The producer's ledger: what is acknowledged is in the log, whatever the log did meanwhile."""

from __future__ import annotations

import json

import pytest

from benchmarks.chaos import traffic as module
from benchmarks.chaos.traffic import FIRST_ENGAGEMENTS, FIRST_ITEMS, Traffic
from hsnn.streaming.errors import AppendError
from hsnn.streaming.log.memory import MemoryLog


class Flaky(MemoryLog):
    """Takes everything, and says of every third flush that it did not."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1
        if self.flushes % 3 == 0:
            raise AppendError("lost the answer")

    def close(self) -> None:
        """Stay open: it is opened again."""


def records(log: MemoryLog) -> list[dict]:
    positions = {("engagements", number): 0 for number in log.partitions("engagements")}
    log.seek(positions)
    found = []
    while batches := log.poll(100_000, 0.0):
        found += [json.loads(value) for batch in batches for value in batch.values]
    return found


@pytest.fixture
def filled(monkeypatch) -> tuple[Flaky, Traffic]:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "FIRST_ENGAGEMENTS", 400)
    monkeypatch.setattr(module, "FIRST_ITEMS", 100)
    log = Flaky()
    traffic = Traffic(lambda: log, seed=1)
    traffic.fill()
    return log, traffic


def test_every_acknowledged_event_is_in_the_log(filled):
    log, traffic = filled
    for count in (7, 1, 30, 0, 12):
        traffic._engage(count)
    found = {event["id"] for event in records(log)}
    assert len(found) == traffic.acknowledged == 450
    assert len(records(log)) > 450, "a batch whose answer was lost was sent again"
    assert traffic.refused


def test_one_producer_of_eight_has_the_wrong_clock(filled):
    log, traffic = filled
    traffic.offset = 172_800
    before = len(records(log))
    traffic._engage(800)
    times = [event["ts"] for event in records(log)]
    ahead = [ts for ts in times if ts > min(times) + 100_000_000]
    assert before < len(times)
    assert 0.05 < len(ahead) / 800 < 0.3


def test_the_ledger_knows_who_is_alive(filled):
    _, traffic = filled
    traffic._items(10, ends=True)
    last = max(traffic.ends.values())
    assert len(traffic.alive(last - 1)) == traffic.permanent() + 1
    assert len(traffic.alive(last)) == traffic.permanent() == 100
    assert FIRST_ITEMS > 1000
    assert FIRST_ENGAGEMENTS > 1000
