"""Alarms of a log that is read again: the same, at the same positions, however the log is fetched."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.config import MonitoringConfig
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.observation import begin_observation
from hsnn.trainer.training.learner import Learner

T0 = 1_700_000_000_000
BATCH, WINDOW, EVENTS = 32, 64, 64 * 72
STREAMING = StreamingConfig(log="memory", batch_size=BATCH, max_wait=0.0, partitions=2)
MONITORING = MonitoringConfig.model_validate({"drift": {"window": WINDOW}})


def drifting() -> MemoryLog:
    """Clicks of 40 users, those of the last quarter without context."""
    log, rng = MemoryLog(), np.random.default_rng(4)
    log.create_topic("engagements", 2)
    for number in range(EVENTS):
        late = number >= EVENTS * 3 // 4
        user = f"u{rng.integers(40)}"
        event: dict[str, Any] = {"type": "interaction", "id": number, "ts": T0 + 1000 * number, "user": user}
        event |= {"item": f"i{rng.integers(60)}", "action": "click", "context": {} if late else {"device": "phone"}}
        record = ProducerRecord(user.encode(), json.dumps(event).encode(), (), T0 + 1000 * number + 50)
        log.append("engagements", [record])
    return log


class OneByOne(MemoryLog):
    """A log that gives few records at a time."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__()
        self._topics, self._rng = log._topics, np.random.default_rng(0)

    def poll(self, max_records: int, *args: Any, **options: Any) -> Any:
        return super().poll(int(self._rng.integers(1, 200)), *args, **options)


def alarms(log: MemoryLog, config: TrainerConfig) -> list[tuple[dict[Any, int], Any]]:
    """Read the whole log; return each alarm with the positions after the batch that raised it."""
    learner, monitor, consumer, raised = Learner(config), DriftMonitor(MONITORING), Consumer(log, STREAMING), []
    while (batch := consumer.next_batch(0.02)) is not None:
        prepared = learner.prepare(batch)
        observe = begin_observation(learner, batch, prepared)
        raised += [(dict(batch.positions), alarm) for alarm in monitor.update(observe(learner.train(prepared)))]
    consumer.close()
    return raised


@pytest.mark.slow
def test_a_log_that_is_read_again_raises_the_same_alarms_at_the_same_positions(config: TrainerConfig) -> None:
    log = drifting()
    first = alarms(log, config)
    assert {alarm.kind for _, alarm in first} == {"users_context_missing"}
    assert alarms(OneByOne(log), config) == first
