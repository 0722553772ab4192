"""The consumer: the same batches in every run, however much it reads at once, and every event is counted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.commands import encode_end
from hsnn.streaming.schema.events import ItemDeletion
from tests.streaming.mixed_stream import (
    CONFIG,
    DAY,
    JOIN_CONFIG,
    SENT,
    START,
    RandomPollLog,
    batch_contents,
    dead_letters,
    drain,
    events_in,
    fill_mixed,
    impression,
    interaction,
    item,
    labelled,
    log_view,
    partition_records,
    send,
)
from tests.waiting import DEADLINE


def test_batches_are_exact_and_in_order_of_time() -> None:
    log = MemoryLog()
    for partition in range(4):
        send(
            log,
            "engagements",
            *(interaction(START + i * 4 + partition, item=str(i * 4 + partition)) for i in range(25)),
            partition=partition,
        )
    batches = drain(Consumer(log, CONFIG))
    assert [len(batch.engagements) for batch in batches] == [10] * 10
    assert [name for batch in batches for name in batch.engagements.item] == [str(i) for i in range(100)]
    assert [batch.caught_up for batch in batches] == [False] * 9 + [True]
    assert batches[4].watermark == START + 49
    assert {p: n for p, n in batches[4].positions.items() if n} == {
        ("engagements", p): 13 if p < 2 else 12 for p in range(4)
    }


def test_equal_times_go_by_partition_then_offset() -> None:
    log = MemoryLog()
    for partition in (2, 0, 3, 1):
        send(log, "engagements", *(interaction(START, item=f"{partition}{i}") for i in range(3)), partition=partition)
    (batch,) = drain(Consumer(log, CONFIG.model_copy(update={"batch_size": 12})))
    assert batch.engagements.item == [f"{partition}{i}" for partition in range(4) for i in range(3)]


def test_columns_carry_everything() -> None:
    log = MemoryLog()
    send(log, "engagements", interaction(START, "u", "a", value=2, context={"h": 1}), interaction(START + 1, "v", "b"))
    (batch,) = drain(Consumer(log, CONFIG))
    events = batch.engagements
    assert (events.user, events.item, events.action) == (["u", "v"], ["a", "b"], ["click", "click"])
    assert events.context == [{"h": 1}, None]
    assert events.value.dtype == np.float32
    assert events.value[0] == 2
    assert np.isnan(events.value[1])
    assert events.sent_at.tolist() == [SENT] * 2


def test_a_short_batch_comes_only_when_the_log_is_drained_and_max_wait_is_over() -> None:
    log = MemoryLog()
    consumer = Consumer(log, CONFIG.model_copy(update={"max_wait": 0.3}))
    assert consumer.next_batch(0.05) is None
    send(log, "engagements", *(interaction(START + i) for i in range(13)))
    full = consumer.next_batch(DEADLINE)
    assert full is not None
    assert (len(full.engagements), full.caught_up) == (10, False)
    assert consumer.next_batch(0.05) is None
    short = consumer.next_batch(DEADLINE)
    assert short is not None
    assert (len(short.engagements), short.caught_up) == (3, True)
    assert consumer.next_batch(0.05) is None


def test_the_catalogue_comes_first_and_commands_at_their_time() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(START + i, item=str(i)) for i in range(30)))
    send(log, "items", item(START + 25, "at-25"), item(START + 9, "at-9"), item(START + 10, "at-10"))
    send(log, "users", b'{"type":"user","id":5,"ts":%d}' % (START + 15))
    send(log, "control", b'{"op":"split","ts":%d}' % (START + 20))
    batches = drain(Consumer(log, CONFIG))
    assert [[one.id for one in batch.items] for batch in batches] == [["at-25", "at-9", "at-10"], [], []]
    assert [len(batch.users) for batch in batches] == [1, 0, 0]
    assert [list(batch.control) for batch in batches] == [[], [], [b'{"op":"split","ts":%d}' % (START + 20)]]
    assert batches[0].item_sent_at == [SENT] * 3


def test_items_alone_come_without_interactions() -> None:
    log = MemoryLog()
    send(log, "items", item(START - 40 * DAY, "a"), item(START, "b"))
    (batch,) = drain(Consumer(log, CONFIG))
    assert len(batch.engagements) == 0
    assert [one.id for one in batch.items] == ["a", "b"]
    assert batch.caught_up


def test_deleted_and_sent_again() -> None:
    log = MemoryLog()
    log.create_topic("items", 1)
    stamp = (("ts", b"%d" % START),)
    records: list[tuple[bytes, bytes | None]] = [
        (b"a", item(START, "a")),
        (b"b", item(START, "b")),
        (b"a", None),
        (b"c", None),
        (b"c", item(START, "c")),
        (b"d", None),
    ]
    log.append("items", [ProducerRecord(key, value, stamp, START) for key, value in records])
    (batch,) = drain(Consumer(log, CONFIG))
    assert [(type(one).__name__, one.id) for one in batch.items] == [
        ("Item", "a"),
        ("Item", "b"),
        ("ItemDeletion", "a"),
        ("ItemDeletion", "c"),
        ("Item", "c"),
        ("ItemDeletion", "d"),
    ]
    assert batch.items[2] == ItemDeletion("a", START)


def test_impressions_are_seen_and_counted() -> None:
    log = MemoryLog()
    shown = b'{"type":"impression","id":1,"ts":%d,"user":1,"items":[7,"z"]}' % START
    send(log, "engagements", shown, interaction(START + 1))
    (batch,) = drain(Consumer(log, CONFIG))
    assert batch.seen_items == [("7", START, SENT), ("z", START, SENT)]
    assert batch.dropped == {"impression_not_joined": 1}
    assert len(batch.engagements) == 1


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, JOIN_CONFIG], ids=["plain", "joined"])
@pytest.mark.parametrize("seed", range(5))
def test_how_the_log_is_polled_changes_nothing(seed: int, config: StreamingConfig) -> None:
    whole, piecemeal = MemoryLog(), RandomPollLog(seed)
    fill_mixed(whole)
    fill_mixed(piecemeal)
    expected = [batch_contents(batch) for batch in drain(Consumer(whole, config))]
    found = [batch_contents(batch) for batch in drain(Consumer(piecemeal, config))]
    assert len(expected) > 80
    assert found == expected
    assert dead_letters(piecemeal) == dead_letters(whole)


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, JOIN_CONFIG], ids=["plain", "joined"])
def test_every_event_is_accounted_for(config: StreamingConfig) -> None:
    log = MemoryLog()
    fill_mixed(log, 2000, seed=8)
    produced = 0
    for partition in range(4):
        for record in partition_records(log, "engagements", partition):
            produced += events_in(record.value or b"")
    consumer = Consumer(log, config)
    batches = drain(consumer)
    counts = consumer.counts
    lost = counts.dead_lettered + sum(counts.dropped.values())
    assert produced == counts.delivered + counts.judged + lost + consumer.pending
    assert counts.delivered == sum(len(batch.engagements) for batch in batches)
    assert counts.dead_lettered == sum(batch.dead_lettered for batch in batches) == len(dead_letters(log))
    assert sum(sum(batch.letter_reasons.values()) for batch in batches) == counts.dead_lettered
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
    labels = np.concatenate([batch.labelled_impressions.labels for batch in batches])
    assert (labels.sum(0) > 0).all()
    for partition in log.partitions("control"):
        log.append("control", [ProducerRecord(None, encode_end(batches[-1].watermark + 1), partition=partition)])
    drain(consumer)
    assert produced == counts.delivered + counts.judged + lost, "once all was sent, nothing waits"
    assert consumer.pending == 0


def test_impressions_meet_their_actions() -> None:
    log = MemoryLog()
    config = CONFIG.model_copy(update={"tasks": ("click", "like"), "attribution_window": 60.0})
    send(
        log,
        "engagements",
        impression(START, 1, "u", [7, "b", "c"], context={"h": 1}),
        impression(START + 1, "two", "v", ["b"]),
        interaction(START + 2, "u", "b", impression=1),
        interaction(START + 3, "u", "b", action="like"),
        interaction(START + 4, "v", "b"),
        interaction(START + 60_002, "w", "z"),
    )
    (batch,) = drain(Consumer(log, config))
    assert (batch.impressions, batch.pending, batch.dropped) == (2, 0, {})
    assert labelled(batch) == [
        (START, START + 60_002, "u", "7", [0, 0], {"h": 1}),
        (START, START + 60_002, "u", "b", [1, 1], {"h": 1}),
        (START, START + 60_002, "u", "c", [0, 0], {"h": 1}),
        (START + 1, START + 60_002, "v", "b", [1, 0], None),
    ]
    assert batch.engagements.repeat.tolist() == [False, True, False, False]
    assert [item for item, _, _ in batch.seen_items] == ["7", "b", "c", "b"]


def test_an_event_sent_twice_counts_once() -> None:
    log = MemoryLog()
    one, shown = interaction(START), impression(START, 1)
    arrow = write_interactions([START] * 3, ["u"] * 3, ["i"] * 3, ["view"] * 3, id=["x", None, "x"])
    values = [one, shown, one, shown, json.dumps(json.loads(one) | {"user": "v"}).encode(), arrow]
    send(log, "engagements", *values, interaction(START + 300_001), one)
    (batch,) = drain(Consumer(log, CONFIG.model_copy(update={"dedup_window": 300.0})))
    assert batch.dropped == {"duplicate": 3, "impression_not_joined": 1}
    assert (batch.engagements.user, batch.engagements.ts[-1]) == (["u", "v", "u", "u", "u", "u"], START)
    assert batch.seen_items == [("i", START, SENT)]
    (batch,) = drain(Consumer(log_view(log), CONFIG.model_copy(update={"dedup_window": 0.0})))
    assert batch.dropped == {"impression_not_joined": 2}


@pytest.mark.parametrize("change", [{"item": "b"}, {"action": "view"}, {"user": "v"}])
def test_lines_of_an_order_are_events_of_their_own(change: dict[str, str]) -> None:
    log = MemoryLog()
    one = interaction(START)
    other = json.dumps(json.loads(one) | change).encode()
    send(log, "engagements", one, other, other, one)
    (batch,) = drain(Consumer(log, CONFIG))
    assert (len(batch.engagements), batch.dropped) == (2, {"duplicate": 2})


def test_pages_of_one_impression_are_events_of_their_own() -> None:
    log = MemoryLog()
    pages = [impression(START, "list-1", items=items) for items in (["a", "b"], ["c"], ["a", "b"])]
    send(log, "engagements", *pages, interaction(START + 1))
    (batch,) = drain(Consumer(log, CONFIG))
    assert batch.dropped == {"duplicate": 1, "impression_not_joined": 2}


def test_a_days_file_that_is_sent_twice_counts_once() -> None:
    log = MemoryLog()
    lines = [interaction(START + i * DAY // 100, f"u{i % 30}") for i in range(100)]
    consumer = Consumer(log, CONFIG)
    send(log, "engagements", *lines)
    assert sum(len(batch.engagements) for batch in drain(consumer)) == 100
    send(log, "engagements", *lines)
    again = drain(Consumer(log, CONFIG, state=consumer.state_dict()))
    assert (sum(len(batch.engagements) for batch in again), again[-1].dropped) == (0, {"duplicate": 100})


def test_events_of_one_time_up_to_which_all_was_sent_do_not_wait() -> None:
    """The command may be merged before events that a slow partition still holds."""
    log = MemoryLog()
    send(log, "engagements", impression(START, 1))
    send(log, "control", encode_end(START + 10), b"?", b'{"op":5}')
    consumer = Consumer(log, JOIN_CONFIG)
    (batch,) = drain(consumer)
    assert (batch.impressions, batch.pending, len(batch.labelled_impressions)) == (1, 0, 1)
    send(log, "engagements", impression(START + 5, 2), impression(START + 15, 3))
    (batch,) = drain(Consumer(log, JOIN_CONFIG, state=consumer.state_dict()))
    assert (batch.impressions, batch.pending) == (1, 1)


def test_a_batch_may_end_inside_a_record() -> None:
    log = MemoryLog()
    record = write_interactions([START + i for i in range(25)], ["u"] * 25, [str(i) for i in range(25)], ["view"] * 25)
    send(log, "engagements", record, interaction(START + 100, item="last"), partition=2)
    consumer = Consumer(log, CONFIG)
    names = []
    for size in (10, 10, 6):
        batch = consumer.next_batch(0.1)
        assert batch is not None
        assert len(batch.engagements) == size
        names += batch.engagements.item
        if size == 10:
            assert batch.positions["engagements", 2] == 0
        consumer = Consumer(log, CONFIG, state=consumer.state_dict())
    assert names == [*map(str, range(25)), "last"]
