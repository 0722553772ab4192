"""A loop over a log of planted clicks, and a process group of threads with the operations of torchrun's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from hsnn.monitoring.config import MonitoringConfig
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.schema.events import Interaction, encode
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.process_group import ProcessGroup
from hsnn.trainer.online.loop import OnlineLoop
from tests.trainer.online.loops import BAD, BATCH, EVENTS, STREAMING, until
from tests.waiting import DEADLINE


@pytest.fixture
def log(redis_server, redis_client):
    log = RedisLog(redis_server)
    yield log
    log.close()


@pytest.fixture
def filled(log, new_world):
    """A log of planted clicks, some records that are no events, and the items' announcements."""
    world = new_world()
    for topic in ("engagements", "items", "users", "control"):
        log.create_topic(topic, 2, compacted=topic in ("items", "users"))
    number = 0
    for _ in range(EVENTS // BATCH):
        batch = world.batch(BATCH)
        log.append("items", [ProducerRecord(item.id.encode(), encode(item)) for item in batch.items])
        events = batch.engagements
        for user, item, ts in zip(events.user, events.item, events.ts.tolist(), strict=True):
            event = Interaction(id=f"e{number}", ts=ts, user=user, item=item, action="click", context={"hour": ts % 24})
            log.append("engagements", [ProducerRecord(user.encode(), encode(event))])
            number += 1
        if number % 192 == 0 and number // 192 <= BAD:
            log.append("engagements", [ProducerRecord(b"u1", b"{broken")])
    log.flush()
    return log


@pytest.fixture
def new_loop(config, redis_client, redis_server, tmp_path) -> Iterator[Callable[..., OnlineLoop]]:
    """``new_loop(folder=..., **changes of TrainerConfig)``: a trainer, as its process would make it."""

    logs = []

    def make(
        folder: str = "one",
        streaming: StreamingConfig = STREAMING,
        monitoring: MonitoringConfig = MonitoringConfig(),  # noqa: B008 - it is frozen
        **changes,
    ) -> OnlineLoop:
        settings = {"checkpoint_dir": tmp_path / folder, "snapshot_interval": 1e9, "flush_interval": 0.0} | changes
        trainer: TrainerConfig = config.model_copy(update=settings)
        logs.append(RedisLog(redis_server))
        return OnlineLoop(trainer, streaming, monitoring, logs[-1], redis_client, "digest")

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def undisturbed(filled, new_loop) -> OnlineLoop:
    loop = new_loop("undisturbed")
    loop.run(until(loop, EVENTS))
    return loop


class ThreadProcessGroup(ProcessGroup):
    """The process group of a worker whose peers are threads."""

    def __init__(self, rank: int, size: int, barrier: Barrier, board: list[Any]) -> None:
        super().__init__(rank, size)
        self._barrier, self._board = barrier, board

    def _all(self, own: Any) -> list[Any]:
        self._board[self.rank] = own
        self._barrier.wait(DEADLINE)
        gathered = list(self._board)
        self._barrier.wait(DEADLINE)
        return gathered

    def all_gather_ints(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        return np.array(self._all(list(numbers)), np.int64)

    def all_gather_padded(self, blob: bytes, lengths: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        gathered = self._all(blob)
        assert [len(received) for received in gathered] == list(lengths)
        return gathered

    def broadcast_int(self, number: int) -> int:
        value: int = self._all(number)[0]
        return value

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        gathered = self._all([tensor.clone() for tensor in tensors])
        for index, tensor in enumerate(tensors):
            tensor.copy_(sum(theirs[index] for theirs in gathered))


@pytest.fixture
def together() -> Callable[..., list[Any]]:
    """``together(2, work)``: what ``work(world)`` returns in each of so many workers."""

    def run(size: int, work: Callable[[ProcessGroup], Any]) -> list[Any]:
        barrier, board = Barrier(size), [None] * size

        def one(rank: int) -> Any:
            try:
                return work(ThreadProcessGroup(rank, size, barrier, board))
            except BaseException:
                barrier.abort()
                raise

        with ThreadPoolExecutor(size) as pool:
            return [future.result() for future in [pool.submit(one, rank) for rank in range(size)]]

    return run
