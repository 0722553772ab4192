"""The oracle against planted answers, and against a definition written out in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.demo.checker import ItemLifetime, check, check_run, replay
from hsnn.demo.remaining_events import pending
from hsnn.serving.api.request_log import RequestLog
from hsnn.serving.schema import Answer, AnswerStats, Request
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog

CONFIG = StreamingConfig(partitions=2)
HOUR = 3_600_000


def click(item: str, ts: int, user: str = "u") -> dict[str, Any]:
    return {"type": "interaction", "id": f"{user}{ts}", "ts": ts, "user": user, "item": item, "action": "click"}


def log_of(engagements: list[dict[str, Any]], items: list[dict[str, Any] | tuple[str, int]] = ()) -> MemoryLog:  # type: ignore[assignment]
    log = MemoryLog()
    for topic in (CONFIG.engagements_topic, CONFIG.items_topic):
        log.create_topic(topic, CONFIG.partitions)
    log.append(
        CONFIG.engagements_topic,
        [ProducerRecord(str(e.get("user")).encode(), json.dumps(e).encode()) for e in engagements],
    )
    for item in items:
        if isinstance(item, tuple):
            deletion = ProducerRecord(item[0].encode(), None, (("ts", str(item[1]).encode()),), 1)
            log.append(CONFIG.items_topic, [deletion])
        else:
            log.append(CONFIG.items_topic, [ProducerRecord(str(item["id"]).encode(), json.dumps(item).encode())])
    return log


def answer(as_of: int, *items: str) -> dict[str, object]:
    return {"as_of": as_of, "items": list(items), "user": "u", "version": 1, "mode": "beam", "t": 0}


def returned(log: MemoryLog, idle_ms: int | None, *answers: dict[str, object]) -> list[tuple[str, int]]:
    lives, _ = replay(log, CONFIG)
    return [(found.item, found.as_of) for found in check(lives, answers, idle_ms).violations]


def test_an_item_is_expired_from_its_last_engagement_plus_the_idle_time_on() -> None:
    log = log_of([click("a", 1000), click("b", 5000, "v"), click("a", 9000)])
    answers = answer(4999, "a"), answer(5000, "a"), answer(9000, "a", "b")
    assert returned(log, 4000, *answers) == [("a", 5000), ("b", 9000)]
    assert returned(log, None, answer(10**12, "a", "b")) == []


def test_an_item_event_is_a_sign_of_life_and_an_impression_only_where_it_announces() -> None:
    shown = {"type": "impression", "id": "s", "ts": 7000, "user": "u", "items": ["old", "fresh"]}
    log = log_of([click("old", 1000), shown], [{"type": "item", "id": 5, "ts": 6000}])
    assert returned(log, 4000, answer(8000, "old", "fresh", "5")) == [("old", 8000)]


def test_what_the_log_never_named_must_not_be_returned_but_what_comes_just_after_may() -> None:
    log = log_of([click("a", 1000)])
    assert returned(log, 500, answer(900, "a", "ghost")) == [("ghost", 900)]


def test_expiry_and_deletion_follow_the_last_item_event_before_the_watermark() -> None:
    items = [
        {"type": "item", "id": "a", "ts": 100, "expires_at": 500},
        {"type": "item", "id": "a", "ts": 400, "expires_at": 900},
        {"type": "item", "id": "b", "ts": 100},
        ("b", 300),
        {"type": "item", "id": "c", "ts": 100},
        ("c", 300),
        {"type": "item", "id": "c", "ts": 600},
        {"type": "item", "id": "d", "ts": 100, "expires_at": 500},
        {"type": "item_patch", "id": "d", "ts": 200, "features": {"price": 2}},
        {"type": "item", "id": "d", "ts": 150, "expires_at": 9000},
        {"type": "item", "id": "e", "ts": 100, "expires_at": 500, "available_from": 300},
        {"type": "item_patch", "id": "e", "ts": 200, "expires_at": None},
    ]
    log = log_of([click("x", 1)], items)
    found = returned(log, None, *(answer(at, *"abcde") for at in (299, 300, 600, 899, 900)))
    assert found == [
        ("e", 299),
        ("b", 300),
        ("b", 600),
        ("d", 600),
        *[("b", 899), ("d", 899)],
        *((x, 900) for x in "abd"),
    ]


def test_events_of_unreadable_records_count_and_do_no_harm() -> None:
    log = log_of([click("a", 1000)])
    log.append(CONFIG.engagements_topic, [ProducerRecord(b"u", b"{broken")])
    lives, engagements = replay(log, CONFIG)
    assert (set(lives), engagements) == ({"a"}, 2)


def test_a_run_is_judged_from_its_answer_log(tmp_path: Path) -> None:
    log = log_of([click("a", 1000), click("b", 1000 + 2 * HOUR, "v")])
    answers = RequestLog(tmp_path / "answers.jsonl")
    stats = AnswerStats(scored=1, candidates=1, nodes=1, corpus=2)
    for as_of, items in ((1000, ["a"]), (1000 + 2 * HOUR, ["b"]), (1000 + 2 * HOUR, ["b", "a"])):
        given_ = Answer(items=items, scores=[0.0] * len(items), version=3, as_of=as_of, stats=stats)
        answers.append([(Request(user=7), given_)])
    answers.close()
    verdict, in_log = check_run(log, CONFIG, tmp_path / "answers.jsonl", idle=3600.0)
    assert (verdict.answers, verdict.items, in_log) == (3, 4, 2)
    assert [tuple(found) for found in verdict.violations] == [("a", 1000 + 2 * HOUR, "7", 3)]
    nothing, _ = check_run(log, CONFIG, tmp_path / "no such file", idle=None)
    assert (nothing.answers, nothing.violations) == (0, [])


def test_pending_is_what_lies_beyond_the_committed_positions() -> None:
    log = log_of([click("a", n, f"user{n}") for n in range(1, 11)])
    assert pending(log, CONFIG) == 10
    parts = [(CONFIG.engagements_topic, partition) for partition in range(2)]
    ends = log.end_positions(parts)
    log.commit(CONFIG.group, {parts[0]: ends[parts[0]], parts[1]: 1})
    assert pending(log, CONFIG) == ends[parts[1]] - 1
    log.commit(CONFIG.group, ends)
    assert pending(log, CONFIG) == 0


times = st.integers(0, 60)


@given(
    signs=st.lists(times, min_size=1),
    facts=st.lists(st.tuples(times, st.booleans(), st.none() | st.integers(1, 80))),
    watermark=times,
    idle=st.none() | st.integers(1, 30),
)
def test_it_agrees_with_the_definition(
    signs: list[int], facts: list[tuple[int, bool, int | None]], watermark: int, idle: int | None
) -> None:
    items: list[Any] = [
        ("a", ts) if deleted else {"type": "item", "id": "a", "ts": ts, **({"expires_at": end} if end else {})}
        for ts, deleted, end in facts
    ]
    log = log_of([click("a", ts) for ts in signs], items)

    counted: list[tuple[int, bool, int | None]] = []  # what is older than what is known changes nothing
    for ts, deleted, end in facts:
        if not counted or ts >= counted[-1][0]:
            before = None if not counted or counted[-1][1] else counted[-1][2]
            counted.append((ts, deleted, end or before))
    known = [fact for fact in counted if fact[0] <= watermark]
    later = [fact for fact in counted if fact[0] > watermark]
    alive = [*signs, *(ts for ts, deleted, _ in known if not deleted)]
    past = [ts for ts in alive if ts <= watermark]
    dead = bool(known) and all(deleted or (end or 10**9) <= watermark for _, deleted, end in [known[-1], *later])
    announced = any(not deleted for _, deleted, _ in later)
    idled = idle is not None and not announced and bool(past) and not any(watermark - idle < ts for ts in past)

    assert returned(log, idle, answer(watermark, "a")) == ([("a", watermark)] if dead or idled else [])


@pytest.mark.parametrize("count", [0, 3])
def test_planted_violations_are_all_found(count: int) -> None:
    lives = {"good": ItemLifetime(signs=[100]), "gone": ItemLifetime(signs=[1])}
    answers = [answer(105, "good", *(["gone"] if n < count else [])) for n in range(10)]
    verdict = check(lives, answers, 10)
    assert (len(verdict.violations), verdict.answers) == (count, 10)
    assert msgspec.json.encode(verdict.answers) == b"10"
