"""A mixed stream: events of all kinds, invalid ones among them, and the batches that a consumer makes of it."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Position, RecordBatch
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.batch import Batch
from hsnn.streaming.schema.json_array import join_events
from tests.waiting import DEADLINE

START = 893_286_638_000


DAY = 86_400_000

# When everything was sent, epoch ms: well after the events, as in a replay.
SENT = START + 100 * DAY


IDS = itertools.count()


CONFIG = StreamingConfig(log="memory", batch_size=10, max_wait=0.0)


JOIN_CONFIG = CONFIG.model_copy(
    update={"tasks": ("click", "view"), "attribution_window": 3600.0, "joiner_capacity": 30, "dedup_window": 7200.0}
)


class RandomPollLog(MemoryLog):
    """A log that gives a random number of records of random partitions, as a network would."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        wanted = list(partitions or self._next)
        chosen = self._random.sample(wanted, self._random.randint(1, len(wanted)))
        return super().poll(min(max_records, self._random.randint(1, 60)), 0.0, chosen)


def interaction(ts: int, user: str = "u", item: str = "i", **more: Any) -> bytes:
    return json.dumps(
        {"type": "interaction", "id": next(IDS), "ts": ts, "user": user, "item": item, "action": "click", **more}
    ).encode()


def item(ts: int, name: str) -> bytes:
    return json.dumps({"type": "item", "id": name, "ts": ts, "features": {"n": name}}).encode()


def send(log: EventLog, topic: str, *values: bytes | None, key: bytes = b"k", partition: int | None = None) -> None:
    log.create_topic(topic, 4)
    log.append(topic, [ProducerRecord(key, value, sent_at=SENT, partition=partition) for value in values])


def drain(consumer: Consumer, timeout: float = 0.02) -> list[Batch]:
    batches: list[Batch] = []
    while (batch := consumer.next_batch(timeout)) is not None:
        batches.append(batch)
    return batches


def drain_until_caught_up(consumer: Consumer) -> list[Batch]:
    batches: list[Batch] = []
    while not batches or not batches[-1].caught_up:
        batch = consumer.next_batch(DEADLINE)
        assert batch is not None
        batches.append(batch)
    return batches


def batch_contents(batch: Batch) -> dict[str, Any]:
    """Return everything a trainer can see of a batch, to compare."""
    events = batch.engagements
    return {
        "events": list(zip(events.ts.tolist(), events.user, events.item, strict=True)),
        "positions": batch.positions,
        "watermark": batch.watermark,
        "items": [item.id for item in batch.items],
        "more": (list(batch.seen_items), list(batch.control), len(batch.users)),
        "counts": (batch.dead_lettered, batch.dropped),
        "repeat": events.repeat.tolist(),
        "joined": (batch.impressions, batch.pending, batch.early, batch.late_actions),
        "labelled": labelled(batch),
    }


def labelled(batch: Batch) -> list[tuple[Any, ...]]:
    found = batch.labelled_impressions
    columns = found.ts.tolist(), found.decided_at.tolist(), found.user, found.item, found.labels.tolist(), found.context
    return list(zip(*columns, strict=True))


def impression(ts: int, name: Any, user: str = "u", items: Sequence[Any] = ("i",), **more: Any) -> bytes:
    event = {"type": "impression", "id": name, "ts": ts, "user": user, "items": list(items), **more}
    return json.dumps(event).encode()


def fill_mixed(log: EventLog, events: int = 1000, seed: int = 0) -> None:
    """Fill a log: late, repeated and joined events, wrong times, malformed ones, arrays, Arrow, items, commands."""
    rng = random.Random(seed)
    shown: list[tuple[str, str, str]] = []
    for topic in ("engagements", "items", "users", "control"):
        log.create_topic(topic, 4)
    for i in range(events):
        ts = START + i * 60_000 - (rng.random() < 0.1) * rng.randint(0, 10 * DAY)
        user = b"%d" % rng.randint(0, 40)
        draw = rng.random()
        if draw < 0.02:
            ts = rng.choice([4_000_000_000_000, 5_000, START - 400 * DAY, START + 200 * DAY])
        value = interaction(ts, user.decode(), str(i))
        if draw > 0.97:
            value = rng.choice([b"?", b"{}", item(ts, "x"), b"", b"\xff\xff\xff\xff"])
        elif draw > 0.95:
            n = rng.randint(0, 30)
            value = write_interactions(
                [ts + j for j in range(n)], [user.decode()] * n, [f"{i}-{j}" for j in range(n)], ["view"] * n
            )
        elif draw > 0.92:
            value = json.dumps({"type": "impression", "id": i, "ts": ts, "user": 1, "items": [i, "z"]}).encode()
        elif draw > 0.89:
            # one of them invalid, one beyond every plausible time
            events = [interaction(ts + j, user.decode(), f"{i}-{j}") for j in range(rng.randint(0, 9))]
            value = join_events([*events, b"{}", interaction(4_000_000_000_000, user.decode()), value])
        elif draw > 0.8:
            items = [str(i + rng.randint(-3, 9)) for _ in range(3)]
            shown.append((user.decode(), items[0], f"s{i // 20}"))
            value = impression(ts, f"s{i // 20}", user.decode(), items, context={"n": i})
        elif draw > 0.7 and shown:
            who, what, name = rng.choice(shown[-15:])
            user = who.encode()
            what_for = {"impression": rng.choice([None, name]), "action": rng.choice(["click", "view"])}
            value = interaction(ts, who, what, **what_for)
        copies = 1 + (rng.random() < 0.05)
        log.append("engagements", [ProducerRecord(user, value, sent_at=SENT + i)] * copies)
        if draw < 0.2:
            log.append("items", [ProducerRecord(b"%d" % i, item(ts, str(i)), sent_at=SENT + i)])
        if 0.3 < draw < 0.32:
            log.append("items", [ProducerRecord(b"%d" % (i // 2), None, (("ts", b"%d" % ts),), sent_at=SENT + i)])
        if 0.4 < draw < 0.41:
            log.append("control", [ProducerRecord(None, b'{"ts":%d}' % ts, sent_at=SENT + i)])
            log.append("users", [ProducerRecord(user, b'{"type":"user","id":1,"ts":%d}' % ts, sent_at=SENT + i)])


def events_in(value: bytes) -> int:
    """Count the events of a record without the project's own decoder."""
    if value[:4] == b"\xff\xff\xff\xff" and len(value) > 4:
        import pyarrow as pa

        return len(pa.ipc.open_stream(value).read_all())
    return value.count(b'"type"') + value.count(b"{}") if value[:1] == b"[" else 1


def partition_records(log: MemoryLog, topic: str, partition: int) -> list[RecordBatch]:
    return log._topics[topic][partition]


def dead_letters(log: MemoryLog) -> list[tuple[int, int, int, str]]:
    letters = []
    for partition in log.partitions("engagements.dlq"):
        for record in partition_records(log, "engagements.dlq", partition):
            headers = dict(record.headers)
            place = (int(headers["hsnn-partition"]), int(headers["hsnn-offset"]), int(headers["hsnn-index"]))
            letters.append((*place, headers["hsnn-reason"].decode()))
    return letters


def log_view(log: MemoryLog) -> MemoryLog:
    """Return a log with the same records and reading positions of its own."""
    view = MemoryLog()
    view._topics = log._topics
    return view


def copy_log(log: MemoryLog, real: EventLog, names: Iterable[str]) -> None:
    for name in names:
        topic = name.rpartition("-")[0]
        real.create_topic(name, 4)
        for partition in log.partitions(topic):
            copies = [
                ProducerRecord(r.key, r.value, r.headers, r.sent_at, partition)
                for r in partition_records(log, topic, partition)
            ]
            real.append(name, copies)
    real.flush()


class FlushTrackingLog(MemoryLog):
    """A log that knows whether everything appended was flushed."""

    unflushed = 0

    def append(self, topic: str, records: Iterable[ProducerRecord]) -> int:
        self.unflushed += 1
        return super().append(topic, records)

    def flush(self) -> None:
        self.unflushed = 0
