"""The consumer: the same batches in every run, whatever it read at once, and every event accounted for."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from streaming.arrow import write_interactions
from streaming.columns import Batch, Position
from streaming.config import StreamingConfig
from streaming.consumer import Consumer
from streaming.control import end
from streaming.errors import OutOfRangeError, StateError
from streaming.log import EventLog, Outgoing, Record
from streaming.memory_log import MemoryLog
from streaming.open_log import open_log
from streaming.redis_client import Redis

T0 = 893_286_638_000
DAY = 86_400_000
IDS = itertools.count()
CONFIG = StreamingConfig(log="memory", batch_size=10, max_wait=0.0)
JOINED = CONFIG.model_copy(
    update={"tasks": ("click", "view"), "attribution_window": 3600.0, "joiner_capacity": 30, "dedup_window": 7200.0}
)


class Biting(MemoryLog):
    """A log that gives a random number of records of random partitions, as a network would."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def poll(self, max_records: int, timeout: float, partitions: Collection[Position] | None = None) -> list[Record]:
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
    log.append(topic, [Outgoing(key, value, sent_at=T0 + 5, partition=partition) for value in values])


def drain(consumer: Consumer, timeout: float = 0.02) -> list[Batch]:
    batches: list[Batch] = []
    while (batch := consumer.next_batch(timeout)) is not None:
        batches.append(batch)
    return batches


def until_dry(consumer: Consumer) -> list[Batch]:
    batches: list[Batch] = []
    while not batches or not batches[-1].dry:
        batch = consumer.next_batch(20.0)
        assert batch is not None
        batches.append(batch)
    return batches


def told(batch: Batch) -> dict[str, Any]:
    """Everything a trainer can see of a batch, to compare."""
    events = batch.engagements
    return {
        "events": list(zip(events.ts.tolist(), events.user, events.item, strict=True)),
        "positions": batch.positions,
        "watermark": batch.watermark,
        "items": [one.id for one in batch.items],
        "more": (list(batch.deleted_items), list(batch.seen_items), list(batch.control), len(batch.users)),
        "counts": (batch.dead_lettered, batch.dropped),
        "repeat": events.repeat.tolist(),
        "joined": (batch.impressions, batch.pending, batch.early, batch.late_actions),
        "judged": judged(batch),
    }


def judged(batch: Batch) -> list[tuple[Any, ...]]:
    found = batch.judgements
    columns = found.ts.tolist(), found.decided_at.tolist(), found.user, found.item, found.labels.tolist(), found.context
    return list(zip(*columns, strict=True))


def impression(ts: int, name: Any, user: str = "u", items: Sequence[Any] = ("i",), **more: Any) -> bytes:
    event = {"type": "impression", "id": name, "ts": ts, "user": user, "items": list(items), **more}
    return json.dumps(event).encode()


def lively(log: EventLog, events: int = 1000, seed: int = 0) -> None:
    """Fill a log with some of everything: late, repeated, joined events, bad stamps, junk, Arrow, items, commands."""
    chance = random.Random(seed)
    shown: list[tuple[str, str, str]] = []
    for topic in ("engagements", "items", "users", "control"):
        log.create_topic(topic, 4)
    for i in range(events):
        ts = T0 + i * 60_000 - (chance.random() < 0.1) * chance.randint(0, 10 * DAY)
        user = b"%d" % chance.randint(0, 40)
        draw = chance.random()
        if draw < 0.02:
            ts = chance.choice([4_000_000_000_000, 5_000, T0 - 400 * DAY, T0 + 200 * DAY])
        value = interaction(ts, user.decode(), str(i))
        if draw > 0.97:
            value = chance.choice([b"?", b"{}", item(ts, "x"), b"", b"\xff\xff\xff\xff"])
        elif draw > 0.95:
            n = chance.randint(0, 30)
            value = write_interactions(
                [ts + j for j in range(n)], [user.decode()] * n, [f"{i}-{j}" for j in range(n)], ["view"] * n
            )
        elif draw > 0.92:
            value = json.dumps({"type": "impression", "id": i, "ts": ts, "user": 1, "items": [i, "z"]}).encode()
        elif draw > 0.8:
            items = [str(i + chance.randint(-3, 9)) for _ in range(3)]
            shown.append((user.decode(), items[0], f"s{i // 20}"))
            value = impression(ts, f"s{i // 20}", user.decode(), items, context={"n": i})
        elif draw > 0.7 and shown:
            who, what, name = chance.choice(shown[-15:])
            user = who.encode()
            what_for = {"impression": chance.choice([None, name]), "action": chance.choice(["click", "view"])}
            value = interaction(ts, who, what, **what_for)
        copies = 1 + (chance.random() < 0.05)
        log.append("engagements", [Outgoing(user, value, sent_at=T0 + i)] * copies)
        if draw < 0.2:
            log.append("items", [Outgoing(b"%d" % i, item(ts, str(i)), sent_at=T0 + i)])
        if 0.3 < draw < 0.32:
            log.append("items", [Outgoing(b"%d" % (i // 2), None, (("ts", b"%d" % ts),), sent_at=T0 + i)])
        if 0.4 < draw < 0.41:
            log.append("control", [Outgoing(None, b'{"ts":%d}' % ts, sent_at=T0 + i)])
            log.append("users", [Outgoing(user, b'{"type":"user","id":1,"ts":%d}' % ts, sent_at=T0 + i)])


def test_batches_are_exact_and_in_order_of_time() -> None:
    log = MemoryLog()
    for partition in range(4):
        send(
            log,
            "engagements",
            *(interaction(T0 + i * 4 + partition, item=str(i * 4 + partition)) for i in range(25)),
            partition=partition,
        )
    batches = drain(Consumer(log, CONFIG))
    assert [len(batch.engagements) for batch in batches] == [10] * 10
    assert [name for batch in batches for name in batch.engagements.item] == [str(i) for i in range(100)]
    assert [batch.dry for batch in batches] == [False] * 9 + [True]
    assert batches[4].watermark == T0 + 49
    assert {p: n for p, n in batches[4].positions.items() if n} == {
        ("engagements", p): 13 if p < 2 else 12 for p in range(4)
    }


def test_equal_times_go_by_partition_then_offset() -> None:
    log = MemoryLog()
    for partition in (2, 0, 3, 1):
        send(log, "engagements", *(interaction(T0, item=f"{partition}{i}") for i in range(3)), partition=partition)
    (batch,) = drain(Consumer(log, CONFIG.model_copy(update={"batch_size": 12})))
    assert batch.engagements.item == [f"{partition}{i}" for partition in range(4) for i in range(3)]


def test_columns_carry_everything() -> None:
    log = MemoryLog()
    send(log, "engagements", interaction(T0, "u", "a", value=2, context={"h": 1}), interaction(T0 + 1, "v", "b"))
    (batch,) = drain(Consumer(log, CONFIG))
    events = batch.engagements
    assert (events.user, events.item, events.action) == (["u", "v"], ["a", "b"], ["click", "click"])
    assert events.context == [{"h": 1}, None]
    assert events.value.dtype == np.float32
    assert events.value[0] == 2
    assert np.isnan(events.value[1])
    assert events.sent_at.tolist() == [T0 + 5] * 2


def test_a_short_batch_comes_only_when_the_log_is_dry_and_patience_is_over() -> None:
    log = MemoryLog()
    consumer = Consumer(log, CONFIG.model_copy(update={"max_wait": 0.3}))
    assert consumer.next_batch(0.05) is None
    send(log, "engagements", *(interaction(T0 + i) for i in range(13)))
    full = consumer.next_batch(5.0)
    assert full is not None
    assert (len(full.engagements), full.dry) == (10, False)
    assert consumer.next_batch(0.05) is None
    short = consumer.next_batch(5.0)
    assert short is not None
    assert (len(short.engagements), short.dry) == (3, True)
    assert consumer.next_batch(0.05) is None


def test_side_events_come_before_the_events_that_follow_them() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i, item=str(i)) for i in range(30)))
    send(log, "items", item(T0 + 9, "at-9"), item(T0 + 10, "at-10"), item(T0 + 25, "at-25"))
    send(log, "users", b'{"type":"user","id":5,"ts":%d}' % (T0 + 15))
    send(log, "control", b'{"op":"split","ts":%d}' % (T0 + 20))
    batches = drain(Consumer(log, CONFIG))
    assert [[one.id for one in batch.items] for batch in batches] == [["at-9"], ["at-10"], ["at-25"]]
    assert [len(batch.users) for batch in batches] == [0, 1, 0]
    assert [list(batch.control) for batch in batches] == [[], [], [b'{"op":"split","ts":%d}' % (T0 + 20)]]
    assert batches[0].item_sent_at == [T0 + 5]


def test_items_alone_come_without_interactions() -> None:
    log = MemoryLog()
    send(log, "items", item(T0 - 40 * DAY, "a"), item(T0, "b"))
    (batch,) = drain(Consumer(log, CONFIG))
    assert len(batch.engagements) == 0
    assert [one.id for one in batch.items] == ["a", "b"]
    assert batch.dry


def test_deleted_and_sent_again() -> None:
    log = MemoryLog()
    log.create_topic("items", 1)
    stamp = (("ts", b"%d" % T0),)
    records: list[tuple[bytes, bytes | None]] = [
        (b"a", item(T0, "a")), (b"b", item(T0, "b")), (b"a", None), (b"c", None), (b"c", item(T0, "c")), (b"d", None),
    ]  # fmt: skip
    log.append("items", [Outgoing(key, value, stamp, T0) for key, value in records])
    (batch,) = drain(Consumer(log, CONFIG))
    assert [one.id for one in batch.items] == ["b", "c"]
    assert batch.deleted_items == ["a", "d"]


def test_impressions_are_seen_and_counted() -> None:
    log = MemoryLog()
    shown = b'{"type":"impression","id":1,"ts":%d,"user":1,"items":[7,"z"]}' % T0
    send(log, "engagements", shown, interaction(T0 + 1))
    (batch,) = drain(Consumer(log, CONFIG))
    assert batch.seen_items == [("7", T0, T0 + 5), ("z", T0, T0 + 5)]
    assert batch.dropped == {"impression_not_joined": 1}
    assert len(batch.engagements) == 1


@pytest.mark.parametrize("config", [CONFIG, JOINED], ids=["plain", "joined"])
@pytest.mark.parametrize("seed", range(5))
def test_how_the_log_is_read_changes_nothing(seed: int, config: StreamingConfig) -> None:
    whole, bitten = MemoryLog(), Biting(seed)
    lively(whole)
    lively(bitten)
    expected = [told(batch) for batch in drain(Consumer(whole, config))]
    found = [told(batch) for batch in drain(Consumer(bitten, config))]
    assert len(expected) > 80
    assert found == expected
    assert dead_letters(bitten) == dead_letters(whole)


@pytest.mark.parametrize("config", [CONFIG, JOINED], ids=["plain", "joined"])
@pytest.mark.parametrize("stop", [1, 7, 30, 60])
def test_a_restart_from_the_state_goes_on_with_the_same_batches(stop: int, config: StreamingConfig) -> None:
    log = MemoryLog()
    lively(log, seed=3)
    undisturbed = Consumer(log, config)
    expected = [told(batch) for batch in drain(undisturbed)]
    letters = dead_letters(log)
    first = Consumer(log, config)
    found = [told(batch) for _ in range(stop) if (batch := first.next_batch(0.05)) is not None]
    second = Consumer(log, config, state=msgspec.json.decode(msgspec.json.encode(first.state())))
    assert found + [told(batch) for batch in drain(second)] == expected
    assert second.state() == undisturbed.state()
    assert dead_letters(log) == letters, "dead letters are written once"


@pytest.mark.parametrize("config", [CONFIG, JOINED], ids=["plain", "joined"])
def test_every_event_is_accounted_for(config: StreamingConfig) -> None:
    log = MemoryLog()
    lively(log, 2000, seed=8)
    produced = 0
    for partition in range(4):
        for record in read(log, "engagements", partition):
            produced += events_in(record.value or b"")
    consumer = Consumer(log, config)
    batches = drain(consumer)
    counts = consumer.counts
    lost = counts.dead_lettered + sum(counts.dropped.values())
    assert produced == counts.delivered + counts.judged + lost + consumer.pending
    assert counts.delivered == sum(len(batch.engagements) for batch in batches)
    assert counts.dead_lettered == sum(batch.dead_lettered for batch in batches) == len(dead_letters(log))
    assert counts.judged == sum(batch.impressions for batch in batches)
    assert consumer.pending == batches[-1].pending
    assert min(counts.dead_lettered, counts.dropped["duplicate"]) > 20
    assert consumer.lag() == (0, 0.0)
    assert batches[-1].positions == log.end_positions(batches[-1].positions)
    if config is CONFIG:
        assert counts.dropped["impression_not_joined"] > 20
        return
    assert counts.judged > 100
    assert consumer.pending > 0, "nobody knows yet whether somebody acts on the last ones"
    assert sum(batch.early for batch in batches) > 0
    assert sum(batch.late_actions for batch in batches) > 0
    assert sum(batch.engagements.repeat.sum() for batch in batches) > 0
    labels = np.concatenate([batch.judgements.labels for batch in batches])
    assert (labels.sum(0) > 0).all()
    for partition in log.partitions("control"):
        log.append("control", [Outgoing(None, end(batches[-1].watermark + 1), partition=partition)])
    drain(consumer)
    assert produced == counts.delivered + counts.judged + lost, "once all was sent, nothing waits"
    assert consumer.pending == 0


def test_impressions_meet_their_actions() -> None:
    log = MemoryLog()
    config = CONFIG.model_copy(update={"tasks": ("click", "like"), "attribution_window": 60.0})
    send(
        log, "engagements",
        impression(T0, 1, "u", [7, "b", "c"], context={"h": 1}), impression(T0 + 1, "two", "v", ["b"]),
        interaction(T0 + 2, "u", "b", impression=1), interaction(T0 + 3, "u", "b", action="like"),
        interaction(T0 + 4, "v", "b"), interaction(T0 + 60_002, "w", "z"),
    )  # fmt: skip
    (batch,) = drain(Consumer(log, config))
    assert (batch.impressions, batch.pending, batch.dropped) == (2, 0, {})
    assert judged(batch) == [
        (T0, T0 + 60_002, "u", "7", [0, 0], {"h": 1}), (T0, T0 + 60_002, "u", "b", [1, 1], {"h": 1}),
        (T0, T0 + 60_002, "u", "c", [0, 0], {"h": 1}), (T0 + 1, T0 + 60_002, "v", "b", [1, 0], None),
    ]  # fmt: skip
    assert batch.engagements.repeat.tolist() == [False, True, False, False]
    assert [item for item, _, _ in batch.seen_items] == ["7", "b", "c", "b"]


def test_an_event_sent_twice_counts_once() -> None:
    log = MemoryLog()
    one, shown = interaction(T0), impression(T0, 1)
    arrow = write_interactions([T0] * 3, ["u"] * 3, ["i"] * 3, ["view"] * 3, id=["x", None, "x"])
    values = [one, shown, one, shown, json.dumps(json.loads(one) | {"user": "v"}).encode(), arrow]
    send(log, "engagements", *values, interaction(T0 + 600_001), one)
    (batch,) = drain(Consumer(log, CONFIG))
    assert batch.dropped == {"duplicate": 3, "impression_not_joined": 1}
    assert (batch.engagements.user, batch.engagements.ts[-1]) == (["u", "v", "u", "u", "u", "u"], T0)
    assert batch.seen_items == [("i", T0, T0 + 5)]
    (batch,) = drain(Consumer(log_view(log), CONFIG.model_copy(update={"dedup_window": 0.0})))
    assert batch.dropped == {"impression_not_joined": 2}


def test_events_of_one_time_up_to_which_all_was_sent_do_not_wait() -> None:
    """The command may be merged before events that a slow partition still holds."""
    log = MemoryLog()
    send(log, "engagements", impression(T0, 1))
    send(log, "control", end(T0 + 10), b"?", b'{"op":5}')
    consumer = Consumer(log, JOINED)
    (batch,) = drain(consumer)
    assert (batch.impressions, batch.pending, len(batch.judgements)) == (1, 0, 1)
    send(log, "engagements", impression(T0 + 5, 2), impression(T0 + 15, 3))
    (batch,) = drain(Consumer(log, JOINED, state=consumer.state()))
    assert (batch.impressions, batch.pending) == (1, 1)


def test_a_state_of_other_tasks_is_refused() -> None:
    state = Consumer(MemoryLog(), JOINED).state()
    for tasks in ((), ("click",)):
        with pytest.raises(StateError, match="set it back"):
            Consumer(MemoryLog(), JOINED.model_copy(update={"tasks": tasks}), state=state)


def events_in(value: bytes) -> int:
    """Count the events of a record without the project's own decoder."""
    if value[:4] == b"\xff\xff\xff\xff" and len(value) > 4:
        import pyarrow as pa

        return len(pa.ipc.open_stream(value).read_all())
    return 1


def read(log: MemoryLog, topic: str, partition: int) -> list[Record]:
    return log._topics[topic][partition]


def dead_letters(log: MemoryLog) -> list[tuple[int, int, int, str]]:
    letters = []
    for partition in log.partitions("engagements.dlq"):
        for record in read(log, "engagements.dlq", partition):
            told = dict(record.headers)
            place = (int(told["hsnn-partition"]), int(told["hsnn-offset"]), int(told["hsnn-index"]))
            letters.append((*place, told["hsnn-reason"].decode()))
    return letters


def test_a_batch_may_end_inside_a_record() -> None:
    log = MemoryLog()
    record = write_interactions([T0 + i for i in range(25)], ["u"] * 25, [str(i) for i in range(25)], ["view"] * 25)
    send(log, "engagements", record, interaction(T0 + 100, item="last"), partition=2)
    consumer = Consumer(log, CONFIG)
    names = []
    for size in (10, 10, 6):
        batch = consumer.next_batch(0.1)
        assert batch is not None
        assert len(batch.engagements) == size
        names += batch.engagements.item
        if size == 10:
            assert batch.positions["engagements", 2] == 0
        consumer = Consumer(log, CONFIG, state=consumer.state())
    assert names == [*map(str, range(25)), "last"]


def test_ranks_share_the_partitions() -> None:
    log = MemoryLog()
    lively(log, 400, seed=4)
    consumers = [Consumer(log_view(log), CONFIG, rank=rank, world_size=3) for rank in range(3)]
    owned = [{place for place in consumer.owned if place[0] != "control"} for consumer in consumers]
    assert sum(map(len, owned)) == len(set().union(*owned)) == 12
    assert all(p % 3 == rank for rank, places in enumerate(owned) for _, p in places)
    assert all(("control", p) in consumer.owned for consumer in consumers for p in range(4))  # commands are for all
    single = Consumer(log_view(log), CONFIG)
    drain(single)
    for consumer in consumers:
        drain(consumer)
    assert sum(consumer.counts.delivered for consumer in consumers) == single.counts.delivered


def log_view(log: MemoryLog) -> MemoryLog:
    """The same records with a reading position of its own."""
    view = MemoryLog()
    view._topics = log._topics
    return view


def test_lag_counts_what_was_not_delivered() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i) for i in range(25)))
    consumer = Consumer(log, CONFIG)
    assert consumer.lag()[0] == 25
    consumer.next_batch(0.1)
    records, seconds = consumer.lag()
    assert records == 15
    assert seconds > 20 * 365 * 86400
    drain(consumer)
    assert consumer.lag() == (0, 0.0)


def test_positions_are_published_on_demand_only() -> None:
    log = MemoryLog()
    send(log, "engagements", interaction(T0))
    consumer = Consumer(log, CONFIG)
    (batch,) = drain(consumer)
    assert log.committed("hsnn", consumer.owned) == {}
    consumer.commit(batch.positions)
    assert log.committed("hsnn", consumer.owned) == batch.positions


def test_given_positions_and_watermark_are_where_it_starts() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i, item=str(i)) for i in range(9)), partition=1)
    consumer = Consumer(log, CONFIG, positions={("engagements", 1): 6}, watermark=T0 + 50)
    (batch,) = drain(consumer)
    assert batch.engagements.item == ["6", "7", "8"]
    assert batch.watermark == T0 + 50


def test_a_replaced_log_is_noticed() -> None:
    with pytest.raises(OutOfRangeError, match="the log was replaced"):
        Consumer(MemoryLog(), CONFIG, positions={("engagements", 1): 6})


@pytest.mark.parametrize(
    "state", [{}, {"version": 99}, {"version": 1, "places": [[1]], "watermark": {}, "counts": {}, "sent_at": 0}]
)
def test_a_state_that_is_none_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(StateError):
        Consumer(MemoryLog(), CONFIG, state=state)


def test_a_state_of_another_rank_is_refused() -> None:
    log = MemoryLog()
    state = Consumer(log, CONFIG, rank=1, world_size=2).state()
    with pytest.raises(StateError, match="does not own"):
        Consumer(log, CONFIG, rank=0, world_size=2, state=state)
    with pytest.raises(ValueError, match="rank 2"):
        Consumer(log, CONFIG, rank=2, world_size=2)


@pytest.mark.parametrize("server", ["redis", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_real_logs_give_the_batches_of_the_one_in_memory(server: str, request: pytest.FixtureRequest) -> None:
    log = MemoryLog()
    names = {
        f"{kind}_topic": f"{kind}-{random.randrange(10**12)}" for kind in ("engagements", "items", "users", "control")
    }
    config = CONFIG.model_copy(update={**names, "max_wait": 0.2})
    lively(log, 600, seed=6)
    real = open_log(request.getfixturevalue("redis_server" if server == "redis" else "kafka_url"))
    copy_log(log, real, names.values())
    found = [told(batch) for batch in until_dry(Consumer(real, config))]
    renamed = MemoryLog()
    copy_log(log, renamed, names.values())
    assert found == [told(batch) for batch in until_dry(Consumer(renamed, config))]
    real.close()


def copy_log(log: MemoryLog, real: EventLog, names: Iterable[str]) -> None:
    for name in names:
        topic = name.rpartition("-")[0]
        real.create_topic(name, 4)
        for partition in log.partitions(topic):
            copies = [Outgoing(r.key, r.value, r.headers, r.sent_at, partition) for r in read(log, topic, partition)]
            real.append(name, copies)
    real.flush()


def test_a_consumer_on_a_growing_redis_log_misses_nothing(redis_server: str, redis_client: Redis) -> None:
    log, producer = open_log(redis_server), open_log(redis_server)
    consumer = Consumer(log, CONFIG)
    names: list[str] = []
    for i in range(20):
        producer.append("engagements", [Outgoing(b"%d" % j, interaction(T0 + i, item=f"{i}-{j}")) for j in range(7)])
        if (batch := consumer.next_batch(0.01)) is not None:
            names += batch.engagements.item
    names += [name for batch in drain(consumer) for name in batch.engagements.item]
    assert sorted(names) == sorted(f"{i}-{j}" for i in range(20) for j in range(7))
    log.close()
    producer.close()


class Careful(MemoryLog):
    """A log that knows whether everything appended was flushed."""

    unflushed = 0

    def append(self, topic: str, records: Iterable[Outgoing]) -> int:
        self.unflushed += 1
        return super().append(topic, records)

    def flush(self) -> None:
        self.unflushed = 0


def test_dead_letters_are_durable_before_a_state_that_lies_behind_them() -> None:
    log = Careful()
    send(log, "engagements", b"?", interaction(T0))
    log.flush()
    consumer = Consumer(log, CONFIG)
    drain(consumer)
    assert log.unflushed == 1
    consumer.state()
    assert log.unflushed == 0
