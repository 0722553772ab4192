"""Hostile messages: no crash and nothing lost with the cap lifted, a halt with the cap in place."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from benchmarks.fuzz.blobs import events_of
from benchmarks.fuzz.messages import Hostile
from benchmarks.fuzz.trial import Trial, streaming
from hsnn.streaming.errors import DeadLetterFloodError
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.open import open_log


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_every_event_is_accounted_for(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fuzz.trial.CHUNK", 1000)  # a restart after ten of them
    config = streaming()
    found = Trial(MemoryLog(), config, Hostile(seed, config)).run(10_000)
    dropped = sum(found["dropped"].values())
    assert found["produced"] == found["trained"] + found["dead_lettered"] + dropped
    assert found["unaccounted"] == found["pending"] == 0
    assert found["restarts"] == 1
    assert min(found["trained"], found["dead_lettered"], dropped) > 0


@pytest.mark.slow
def test_with_the_cap_in_place_the_same_stream_halts() -> None:
    config = streaming(dead_letter_share=0.3)
    trial = Trial(MemoryLog(), config, Hostile(1, config))
    with pytest.raises(DeadLetterFloodError, match=r"(engagements|items|users): .* dead letters"):
        trial.run(10_000)


@pytest.mark.slow
def test_a_lost_event_would_be_noticed() -> None:
    """The account must be able to fail: here a message counts as one event more than it is."""
    config = streaming()
    source = Hostile(1, config)
    true = source.next
    source.next = lambda count: [one._replace(events=one.events + (at == 7)) for at, one in enumerate(true(count))]
    with pytest.raises(AssertionError, match=r"^1 of .* events are unaccounted for"):
        Trial(MemoryLog(), config, source).run(500)


@pytest.mark.slow
def test_the_same_seed_sends_the_same_at_any_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    config = streaming()
    now = Hostile(3, config).next(500)
    monkeypatch.setattr(time, "time", lambda: 7.0)
    assert now == Hostile(3, config).next(500)
    assert now != Hostile(4, config).next(500)


@pytest.mark.parametrize("server", ["redis_server", pytest.param("kafka_url", marks=pytest.mark.kafka)])
@pytest.mark.slow
def test_on_a_real_log_too(server: str, request: pytest.FixtureRequest) -> None:
    config = streaming(prefix=f"{uuid4().hex}-")
    log: EventLog = open_log(request.getfixturevalue(server))
    found = Trial(log, config, Hostile(5, config, wild_clock=server == "redis_server")).run(4000)
    assert found["unaccounted"] == 0
    log.close()


def test_what_a_record_counts_as() -> None:
    assert [events_of(value) for value in (None, b"", b"{}", b"ARROW1??", b"\0abcd{}")] == [1] * 5
    assert isinstance(Hostile(0, streaming()).next(1)[0].record, ProducerRecord)
