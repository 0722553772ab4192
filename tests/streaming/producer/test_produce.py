from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets.assemble import build_dataset, build_engagements
from hsnn.streaming.datasets.base import Dataset, Impressions
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.log.records import Record
from hsnn.streaming.producer.produce import ProduceProgress, produce
from hsnn.streaming.producer.trainer_progress import trained_counter
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.streaming.schema.commands import latest_end
from hsnn.streaming.schema.events import Interaction, Item, User, decode
from tests.waiting import DEADLINE

CONFIG = StreamingConfig(partitions=2)


def dataset(n: int, gap: int = 1000) -> Dataset:
    users, items = [f"u{row % 5}" for row in range(n)], [f"a{row // 10}" for row in range(n)]
    ts = np.arange(1, n + 1, dtype=np.int64) * gap
    features = {"u1": {"age": "20s"}}
    return build_dataset(
        "made", build_engagements(ts, users, items, "click"), item_features={}, user_features=features, titles={}
    )


@pytest.fixture
def log(redis_client: Redis, redis_server: str) -> Iterator[EventLog]:
    opened = open_log(redis_server)
    yield opened
    opened.close()


def read(log: EventLog, topic: str) -> list[Record]:
    log.seek({(topic, partition): 0 for partition in log.partitions(topic)})
    records: list[Record] = []
    while part := log.poll(10_000, 0.05):
        records += chain.from_iterable(part)
    return records


def test_everything_arrives_once_keyed_stamped_and_in_order(log: EventLog) -> None:
    data = dataset(2500)
    before = time.time_ns() // 1_000_000
    done = produce(data, log, config=CONFIG)
    after = time.time_ns() // 1_000_000
    assert (done.engagements, done.items, done.users, done.finished) == (2500, 250, 1, True)
    assert done.watermark == 2_500_000
    assert done.events_per_second > 0
    records = read(log, "engagements")
    clicks = [decode(record.value or b"") for record in records]
    assert sorted(clicks, key=lambda click: click.ts) == [data.interaction(row) for row in range(2500)]
    for record, click in zip(records, clicks, strict=True):
        assert isinstance(click, Interaction)
        assert record.key == str(click.user).encode()
        assert before <= record.sent_at <= after
    for partition in (0, 1):
        times = [decode(record.value or b"").ts for record in records if record.partition == partition]
        assert times == sorted(times)
    items = [decode(record.value or b"") for record in read(log, "items")]
    assert sorted(items, key=lambda item: item.ts) == data.items
    assert [record.key for record in read(log, "users")] == [b"u1"]


class Noting:
    """An event log that records what is appended, and can slow a test's trainer down."""

    def __init__(self, held: int = 0) -> None:
        self.appended: list[Item | User | Interaction] = []
        self.flushed = False
        self.held = held

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        assert compacted == (topic != "clicks" and topic != "engagements")

    def partitions(self, topic: str) -> list[int]:
        return [0]

    def begin_positions(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, 7)

    def end_positions(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, 7 + self.held)

    def append(self, topic: str, records: list) -> int:  # type: ignore[type-arg]
        self.appended += [decode(record.value) for record in records]
        self.flushed = False
        return len(records)

    def flush(self) -> None:
        self.flushed = True

    def engagements(self) -> int:
        return sum(isinstance(event, Interaction) for event in self.appended)


def test_items_go_before_the_engagements_that_name_them() -> None:
    log = Noting()
    produce(dataset(3000), log)
    arrived: set[object] = set()
    for event in log.appended:
        if isinstance(event, Interaction):
            assert event.item in arrived
        else:
            arrived.add(event.id)
    assert log.flushed


@pytest.mark.parametrize("limit", [1, 10, 999, 1000, 1001, 1500, 9999])
def test_limit_counts_engagements_and_sends_only_items_they_name(limit: int) -> None:
    log = Noting()
    done = produce(dataset(1500), log, limit=limit)
    wanted = min(limit, 1500)
    assert done.engagements == log.engagements() == wanted
    assert done.items == -(-wanted // 10)
    assert done.finished


def test_topics_follow_the_config() -> None:
    class Topics(Noting):
        def append(self, topic: str, records: list) -> int:  # type: ignore[type-arg]
            names.add(topic)
            return super().append(topic, records)

    names: set[str] = set()
    config = StreamingConfig(engagements_topic="clicks", items_topic="goods", users_topic="people")
    produce(dataset(20), Topics(), config=config)
    assert names == {"clicks", "goods", "people"}


@pytest.mark.parametrize("ahead", [1, 5, 100, 100_000])
@pytest.mark.parametrize("held", [0, 50])
def test_untrained_engagements_never_exceed_the_limit(ahead: int, held: int) -> None:
    log = Noting(held)
    trainer = {"learned": 0}

    def learned() -> int:
        # A trainer that learns what is there, a bit at each look.
        assert held + log.engagements() - trainer["learned"] <= max(ahead, held)
        trainer["learned"] = min(held + log.engagements(), trainer["learned"] + 40)
        return trainer["learned"]

    done = produce(dataset(300), log, ahead=ahead, trained_count=learned)
    assert (done.engagements, done.finished) == (300, True)


def test_stop_while_waiting_for_the_trainer_flushes() -> None:
    log, reports = Noting(), list[ProduceProgress]()
    asked = iter([False] * 20)
    done = produce(
        dataset(300), log, ahead=100, trained_count=lambda: 0, progress=reports.append, stop=lambda: next(asked, True)
    )
    assert not done.finished
    assert done.engagements == log.engagements()
    assert 0 < done.engagements <= 100
    assert log.flushed
    assert reports[-1] == done


def test_stop_between_paced_events() -> None:
    log = Noting()
    started = time.monotonic()
    done = produce(dataset(100, gap=60_000), log, speed="1x", stop=lambda: time.monotonic() - started > 0.2)
    assert (done.engagements, done.finished) == (1, False)
    assert done.seconds < DEADLINE, "it does not wait for the next minute of the stream"


def test_speed_divides_time() -> None:
    done = produce(dataset(10, gap=1000), Noting(), speed="30x")
    assert done.seconds >= 0.3  # nine gaps of a second at thirty times the speed


def test_invalid_options_are_errors() -> None:
    for options in ({"ahead": 5}, {"ahead": 0, "trained_count": lambda: 0}, {"limit": 0}, {"speed": "quick"}):
        with pytest.raises(ValueError, match=r"ahead|limit|speed"):
            produce(dataset(1), Noting(), **options)


def test_trained_counter_reads_the_trainers_progress(redis_client: Redis, redis_server: str) -> None:
    learned = trained_counter(redis_server)
    assert learned() == 0
    fields = {"trained": 90, "dead_lettered": 3, "dropped": '{"duplicate": 2, "unsafe_step": 5}'}
    redis_client.hset(key("progress"), mapping=fields)
    assert learned() == 100
    redis_client.hset(key("progress"), mapping={"pending": 7})
    assert learned() == 107, "what waits to be judged must not hold back the events that it waits for"


def test_data_set_with_impressions_ends_with_the_end_command(log: EventLog) -> None:
    shown = Impressions(np.array([5, 9], np.int64), ["u", "v"], [["a", "b"], ["a"]], [None, None])
    clicks = build_engagements(np.array([9], np.int64), ["u"], ["b"], "click")
    data = build_dataset(
        "made",
        clicks,
        item_features={},
        user_features={},
        titles={},
        impressions=shown,
        links=np.array([0]),
        sequence=np.array([-1, 0, -2]),
    )
    done = produce(data, log, config=CONFIG)
    assert (done.engagements, done.finished) == (3, True)
    records = read(log, "control")
    assert [(record.partition, latest_end([record.value or b""])) for record in records] == [(0, 10), (1, 10)]
    produce(data, log, config=CONFIG, stop=lambda: True)
    assert len(read(log, "control")) == 2, "only what is finished has ended"


@pytest.mark.slow
@pytest.mark.slow
def test_it_is_fast_enough_for_a_demo(log: EventLog) -> None:
    done = produce(dataset(60_000), log)
    assert done.events_per_second > 5_000  # 40,000 to 54,000 on two idle cores; this only catches a collapse
