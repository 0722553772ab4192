"""Real workers under torchrun: one account, one model, and the same bits after one of them was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.redis.keys import key
from hsnn.streaming.schema.events import Interaction, encode
from hsnn.trainer.checkpoint.digest import digest
from hsnn.trainer.checkpoint.store import CheckpointStore
from tests.waiting import DEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

EVENTS, BAD = 1600, 7
TOPICS = ("engagements", "items", "users", "control")
SMALL = {
    "streaming.batch_size": 32,
    "streaming.max_wait": "50ms",
    "monitoring.trainer_port": 0,
    "monitoring.worker_timeout": "30s",
    "streaming.patience": "10s",
    "trainer.snapshot_interval": "100ms",
    "trainer.index.seed_after": 256,
    "trainer.uniform_negatives": 48,
    "trainer.model.dim": 8,
    "trainer.model.nodes": 12,
    "trainer.model.hidden": 16,
    "trainer.model.buckets": 256,
}


@pytest.fixture
def fill(redis_client: Any, redis_server: str, new_world: type) -> Iterator[Callable[[int], None]]:
    """``fill(100)``: the next 100 clicks, and now and then something that is none."""
    log, world, sent = RedisLog(redis_server), new_world(), []
    for topic in TOPICS:
        log.create_topic(topic, 4)

    def append(count: int) -> None:
        batch = world.batch(count)
        log.append("items", [ProducerRecord(item.id.encode(), encode(item)) for item in batch.items])
        events = batch.engagements
        for user, item, ts in zip(events.user, events.item, events.ts.tolist(), strict=True):
            event = Interaction(id=f"e{len(sent)}", ts=ts, user=user, item=item, action="click")
            log.append("engagements", [ProducerRecord(user.encode(), encode(event))])
            sent.append(event)
            if len(sent) % (EVENTS // BAD) == 0:
                log.append("engagements", [ProducerRecord(user.encode(), b"{broken")])

    yield append
    log.close()


@pytest.fixture
def train(redis_server: str, redis_client: Any, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """``train("one", 2, expected=900)``: so many workers until so many events are accounted for; what they say then."""
    running: list[subprocess.Popen[bytes]] = []

    def run(name: str, workers: int, expected: int, **environment: str) -> dict[str, Any]:
        folder, told = tmp_path / name, tmp_path / f"{name}-told"
        told.mkdir(exist_ok=True)
        keys = SMALL | {"streaming.log": redis_server, "redis.url": redis_server, "trainer.checkpoint_dir": folder}
        options = [part for setting in keys.items() for part in ("--set", f"{setting[0]}={setting[1]}")]
        alone = ["-m", "hsnn", "train"]
        torchrun = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(workers),
            "--max-restarts",
            "1",
        ]
        several = [*torchrun, str(Path(__file__).with_name("reporting_worker.py")), "train"]
        env = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DIGESTS": str(told),
            "CHECKPOINTS": str(folder),
            **environment,
        }
        redis_client.delete(key("progress"))
        log = (tmp_path / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, *(alone if workers == 1 else several), *options],
            env=env,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
        running.append(process)
        progress = _until(redis_client, process, expected, log.name)
        os.kill(process.pid if workers == 1 else _first(process.pid), signal.SIGTERM)
        assert process.wait(DEADLINE) == 0, Path(log.name).read_text()
        return progress

    yield run
    for process in running:
        process.kill()


def _until(redis: Any, process: subprocess.Popen[bytes], expected: int, log: str) -> dict[str, Any]:
    for _ in range(2000):  # tenths of a second: a machine may be busy, and every worker loads torch
        found = {name.decode(): value for name, value in redis.hgetall(key("progress")).items()}
        if found and _accounted(found) >= expected:
            return found
        assert process.poll() is None, Path(log).read_text()
        time.sleep(0.1)
    raise AssertionError(Path(log).read_text())


def _accounted(progress: dict[str, Any]) -> int:
    dropped = sum(json.loads(progress["dropped"]).values())
    return int(progress["trained"]) + int(progress["dead_lettered"]) + dropped + int(progress["pending"])


def _first(torchrun: int) -> int:
    """Process of worker 0."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    return next(int(pid) for pid in children if b"RANK=0" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))


def of_checkpoint(folder: Path) -> str:
    newest = CheckpointStore(folder, 3).newest()
    assert newest is not None
    return digest(newest.arrays, newest.values)


def letters(log: RedisLog) -> int:
    return sum(log.end_positions([("engagements.dlq", p) for p in range(4)]).values())


def test_a_worker_that_is_killed_costs_nothing_and_another_number_goes_on(fill, train, redis_server, tmp_path):
    """One test, because every start of a process costs seconds."""
    fill(EVENTS)
    undisturbed = train("undisturbed", 2, EVENTS + BAD)
    assert (int(undisturbed["trained"]), int(undisturbed["dead_lettered"])) == (EVENTS, BAD)
    assert int(undisturbed["pending"]) == 0
    first, second = ((tmp_path / "undisturbed-told" / rank).read_text() for rank in "01")
    assert first == second
    log = RedisLog(redis_server)
    ends = log.end_positions([(topic, p) for topic in TOPICS for p in range(4)])
    assert log.committed("hsnn", ends) == ends
    assert letters(log) == BAD

    killed = train("killed", 2, EVENTS + BAD, KILL_AT="1:20")
    assert (int(killed["trained"]), int(killed["dead_lettered"])) == (EVENTS, BAD)
    said = (tmp_path / "killed.log").read_text()
    assert "worker 0 of 2 lost another one" in said
    assert said.count("resuming from checkpoint-") == 2  # both, once
    assert of_checkpoint(tmp_path / "killed") == of_checkpoint(tmp_path / "undisturbed")
    assert letters(log) == BAD  # written once

    fill(100)
    alone = train("killed", 1, EVENTS + BAD + 100)
    assert (int(alone["trained"]), int(alone["dead_lettered"])) == (EVENTS + 100, BAD)
    ends = log.end_positions([(topic, p) for topic in TOPICS for p in range(4)])
    assert log.committed("hsnn", ends) == ends
    log.close()
