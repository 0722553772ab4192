"""Redis and Kafka are killed and come back while a trainer learns: it goes on, and nothing is lost or doubled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from hsnn.embedded import EmbeddedRedis
from hsnn.embedded.kafka import EmbeddedKafka
from hsnn.embedded.process import accepts
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.health import Health
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.dead_letters.writer import SUFFIX
from hsnn.streaming.errors import OutOfRangeError
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import key
from hsnn.streaming.retry import RetryPolicy
from hsnn.streaming.schema.events import Interaction, encode
from hsnn.trainer.checkpoint.digest import parts
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.online.loop import OnlineLoop
from hsnn.trainer.snapshot_chunks import read_snapshot

pytestmark = [pytest.mark.slow, pytest.mark.long]

EVENTS, BAD, BATCH = 1024, 4, 32
STREAMING = StreamingConfig(batch_size=BATCH, partitions=2, max_wait=0.05)


def fill(log: EventLog, world: Any) -> None:
    for topic in ("engagements", "items", "users", "control"):
        log.create_topic(topic, 2, compacted=topic in ("items", "users"))
    records = []
    for _ in range(EVENTS // BATCH):
        batch = world.batch(BATCH)
        log.append("items", [ProducerRecord(item.id.encode(), encode(item)) for item in batch.items])
        events = batch.engagements
        for user, item, ts in zip(events.user, events.item, events.ts.tolist(), strict=True):
            event = Interaction(id=f"e{len(records)}", ts=ts, user=user, item=item, action="click")
            records.append(ProducerRecord(user.encode(), encode(event)))
            if len(records) % (EVENTS // BAD) == 0:
                records.append(ProducerRecord(b"u1", b"{broken"))
    log.append("engagements", records)
    log.flush()


class Server:
    """A server that can be killed for some time, with what it keeps on disk."""

    def __init__(self, start: Callable[[int | None], Any]) -> None:
        self._start, self.running = start, start(None)
        self.returns: Thread | None = None

    def dies(self, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Kill it now; it comes back on its own after so many seconds."""
        port = self.running.port
        self.running.kill()
        while accepts(port):
            time.sleep(0.01)
        self.returns = Thread(target=self._back, args=(port, seconds, meanwhile))
        self.returns.start()

    def _back(self, port: int, seconds: float, meanwhile: Callable[[], object]) -> None:
        meanwhile()
        time.sleep(seconds)
        self.running = self._start(port)

    def stop(self) -> None:
        if self.returns is not None:
            self.returns.join()
        self.running.stop()


@pytest.fixture
def redis(tmp_path) -> Iterator[Server]:
    server = Server(lambda port: EmbeddedRedis(port, tmp_path / "redis").start())
    yield server
    server.stop()


@pytest.fixture
def new_loop(redis, config, tmp_path, monkeypatch) -> Iterator[Callable[..., OnlineLoop]]:
    """``new_loop(folder, log)``: a trainer, as its process makes it; `log` is an address or a log.

    It reads little at once, so that there is always something left to be read.
    """
    monkeypatch.setattr("hsnn.streaming.consumer.polling.MAX_RECORDS", 64)
    monkeypatch.setattr("hsnn.streaming.consumer.polling.ROWS_PER_READ", 64)
    opened: list[Any] = []

    def make(folder: str, log: EventLog | str, health: Health | None = None) -> OnlineLoop:
        trainer = config.model_copy(update={"checkpoint_dir": tmp_path / folder, "snapshot_interval": 0.1})
        health = health or Health("trainer")
        waits = RetryPolicy(120.0, lambda what, why: health.set_waiting(what, why))
        log = open_log(log, waits) if isinstance(log, str) else log
        opened.extend((log, connect(redis.running.url)))
        return OnlineLoop(trainer, STREAMING, MonitoringConfig(), log, opened[-1], "digest", health, waits)

    yield make
    for one in opened:
        one.close()


def until_done(
    loop: OnlineLoop, server: Server | None = None, deaths: tuple[int, ...] = (), **how: Any
) -> Callable[[], bool]:
    """Stop at the end of the log; on the way there, have a server die after so many events each."""
    left = list(deaths)

    def stop() -> bool:
        if left and loop.progress.trained >= left[0]:
            left.pop(0)
            server.dies(**how)
        return not left and loop.progress.trained >= EVENTS and loop.consumer.lag()[0] == 0

    return stop


def watched(health: Health) -> list[tuple[bool, bool]]:
    """Whether the trainer was live and ready whenever it waited."""
    seen, waits = [], health.set_waiting

    def look(what: str, why: str | None) -> None:
        waits(what, why)
        if why is not None:
            seen.append((health.liveness()[0], health.readiness()[0]))

    health.set_waiting = look  # type: ignore[method-assign]
    return seen


def last_checkpoint(tmp_path: Path, folder: str) -> list[str]:
    checkpoint = CheckpointStore(tmp_path / folder, 1).newest()
    assert checkpoint is not None
    return parts(checkpoint.arrays, checkpoint.values)


def dead_letters(url: str) -> int:
    """Count them with a new client: one that was there while the server was away may not know that it is back."""
    patience = RetryPolicy(60.0)
    patience.start()
    log = open_log(url, patience)
    found = sum(log.end_positions([("engagements" + SUFFIX, number) for number in (0, 1)]).values())
    log.close()
    return found


@pytest.mark.parametrize(("deaths", "seconds"), [((300, 700), 0.2), ((500,), 7.0)])
def test_redis_as_log_and_index_is_killed_and_comes_back(redis, new_loop, new_world, tmp_path, deaths, seconds):
    """Twice for less, once for longer than redis-py tries by itself."""
    url, health = redis.running.url, Health("trainer")
    log = open_log(url)
    fill(log, new_world())
    loop = new_loop("killed", url, health)
    seen = watched(health)
    loop.run(until_done(loop, redis, deaths, seconds=seconds))
    assert set(seen) == {(True, False)} if seconds > 5 else set(seen) <= {(True, False)}
    assert health.liveness() == (True, {})
    assert (loop.progress.trained, loop.progress.dead_lettered) == (EVENTS, BAD)
    assert dead_letters(url) == BAD
    assert loop._writer.epoch == 1 + len(deaths)
    calm = new_loop("calm", url)
    calm.run(until_done(calm))
    assert last_checkpoint(tmp_path, "killed") == last_checkpoint(tmp_path, "calm")
    assert dead_letters(url) == BAD
    log.close()


def test_what_redis_lost_is_told_again_under_a_new_epoch(redis, new_loop, new_world, tmp_path):
    """The server comes back without the last second: a reader that starts then learns everything all the same."""
    log = MemoryLog()
    fill(log, new_world())
    loop = new_loop("killed", log)

    def forget() -> None:
        written = next((tmp_path / "redis" / "appendonlydir").glob("*.incr.aof"))
        with written.open("r+b") as file:
            file.truncate(written.stat().st_size // 2)

    loop.run(until_done(loop, redis, (700,), seconds=0.2, meanwhile=forget))
    client, learner = connect(redis.running.url), loop.learner
    number = int(client.xrevrange(key("snapshots"), count=1)[0][1][b"n"])
    snapshot = read_snapshot(client, client.hgetall(key("snapshot", number)))
    assert snapshot.manifest.epoch == loop._writer.epoch == int(client.get(key("epoch"))) > 1
    assert (tmp_path / "killed" / snapshot.manifest.checkpoint).is_dir()
    states = ItemCounters()
    states.reserve(len(learner.items))
    known, rows = np.arange(len(snapshot.item_ids)), np.arange(len(learner.items))
    states.set_rows(known, *(snapshot.items[name] for name in ("values", "last", "first")))
    for _, fields in client.xrange(key("state"), min=f"({snapshot.manifest.state_id}"):
        delta = StateDelta.decode(fields[b"d"])
        if delta.epoch == snapshot.manifest.epoch:
            states.set_rows(delta.item_rows, delta.item_values, delta.item_last, delta.item_first)
    assert states.values[rows].tobytes() == learner.states.values[rows].tobytes()
    client.close()


def test_a_log_that_lost_what_was_read_stops_the_trainer(redis, new_loop, new_world, tmp_path):
    log = open_log(redis.running.url)
    fill(log, new_world())
    loop = new_loop("killed", redis.running.url)

    def forget() -> None:
        written = next((tmp_path / "redis" / "appendonlydir").glob("*.incr.aof"))
        with written.open("r+b") as file:
            file.truncate(60_000)

    with pytest.raises(OutOfRangeError, match="lost records that it had acknowledged"):
        loop.run(until_done(loop, redis, (900,), seconds=0.2, meanwhile=forget))
    log.close()


@pytest.mark.kafka
def test_kafka_is_killed_and_comes_back(kafka_tools, new_loop, new_world, tmp_path):
    kafka = Server(lambda port: EmbeddedKafka(tmp_path / "kafka", port).start())
    try:
        url = kafka.running.url
        log = open_log(url)
        fill(log, new_world())
        log.close()
        loop = new_loop("killed", f"{url}?fetch_max_bytes=4096&max_partition_fetch_bytes=4096")
        loop.run(until_done(loop, kafka, (500,), seconds=1.0))
        assert (loop.progress.trained, loop.progress.dead_lettered) == (EVENTS, BAD)
        assert dead_letters(url) == BAD
        calm = new_loop("calm", url)
        calm.run(until_done(calm))
        assert last_checkpoint(tmp_path, "killed") == last_checkpoint(tmp_path, "calm")
    finally:
        kafka.stop()
