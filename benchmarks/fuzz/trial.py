"""One run: messages into a log, through the real consumer into a real learner, and an account of every event."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from benchmarks.churn.memory import resident
from benchmarks.fuzz.messages import Hostile, Message
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.dead_letters.writer import SUFFIX
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.schema.commands import encode_end
from hsnn.streaming.schema.topics import topic_roles
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.messages import Feed
from hsnn.trainer.online.progress import TrainingProgress
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner

TASKS = ("click",)
TRAINER = TrainerConfig(
    model=ModelConfig(
        dim=8,
        state_dim=4,
        hidden=16,
        history=4,
        token_dim=4,
        buckets=256,
        nodes=12,
        node_heads=2,
        beam=2,
        budget=30,
        tasks=TASKS,
    ),
    index=IndexConfig(seed_after=2048),
    uniform_negatives=64,
)
# messages that are made at once
CHUNK = 10_000
# chunks between two restarts from a state
_RESTART_EVERY = 10
# partitions per topic, the default of `streaming.partitions`
_PARTITIONS = 4


def streaming(prefix: str = "", **changes: Any) -> StreamingConfig:
    """Topics of a run's own, impressions joined within a minute, and no dead-letter limit."""
    names = {f"{kind}_topic": f"{prefix}{kind}" for kind in ("engagements", "items", "users", "control")}
    settings = {
        "attribution_window": 60.0,
        "dedup_window": 300.0,
        "max_wait": 0.02,
        "dead_letter_share": None,
    } | changes
    return StreamingConfig(log="given", partitions=_PARTITIONS, batch_size=256, tasks=TASKS, **names, **settings)


class Trial:
    """Feeds a log and learns from it, chunk by chunk, with a restart from a state in between now and then.

    Parameters
    ----------
    log
        For feeding and reading.
    config
    source
        Of the messages.
    """

    def __init__(self, log: EventLog, config: StreamingConfig, source: Hostile) -> None:
        self._log, self._config, self._source = log, config, source
        self._consumer, self._learner, self._progress = Consumer(log, config), Learner(TRAINER), TrainingProgress()
        self._produced = self._restarts = 0
        self._resident: list[float] = []

    def run(self, messages: int) -> dict[str, Any]:
        """Send and learn so many messages; the figures.

        Raises
        ------
        AssertionError
            Events are unaccounted for.
        """
        started = time.perf_counter()
        for start in range(0, messages, CHUNK):
            self._chunk(self._source.next(min(CHUNK, messages - start)))
            if start // CHUNK % _RESTART_EVERY == _RESTART_EVERY - 1:
                self._restart()
        self._finish()
        return self._figures(messages, time.perf_counter() - started)

    def _chunk(self, messages: list[Message]) -> None:
        for topic in topic_roles(self._config):
            self._log.append(topic, [message.record for message in messages if message.topic == topic])
        self._log.flush()
        self._produced += sum(message.events for message in messages)
        self._learn()
        self._resident.append(resident() / 1e6)
        if isinstance(self._log, MemoryLog):
            self._let_go(self._log)

    def _learn(self) -> None:
        while self._consumer.lag()[0]:
            batch = self._consumer.next_batch(5.0)
            assert batch is not None, f"{self._consumer.lag()[0]} records wait and do not come"
            prepared = self._learner.prepare(batch)
            self._progress.count(batch, self._learner.train(prepared))
            Feed(1, prepared.feed).encode()  # what the trainer tells others must be tellable
            self._learner.delta(1).encode()
        missing = self.account()["unaccounted"]
        assert not missing, f"{missing} of {self._produced} events are unaccounted for: {self.account()}"

    def _restart(self) -> None:
        """Go on from what a checkpoint would hold."""
        arrays, own = self._learner.state_dict()
        make_snapshot(self._learner, SnapshotOrigin(1, 1)).parts()
        values = {"consumer": self._consumer.state_dict(), "learner": own, "progress": self._progress.state_dict()}
        values = msgspec.msgpack.decode(msgspec.msgpack.encode(values))
        self._consumer = Consumer(self._log, self._config, state=values["consumer"])
        self._learner = Learner.from_state_dict(TRAINER, arrays, values["learner"])
        self._progress = TrainingProgress()
        self._progress.load_state_dict(values["progress"])
        self._restarts += 1

    def _finish(self) -> None:
        """Say that no more comes, so that what waits to be joined is judged."""
        topic = self._config.control_topic
        said = encode_end(self._source.now + 1)
        self._log.append(topic, [ProducerRecord(b"", said, partition=p) for p in self._log.partitions(topic)])
        self._log.flush()
        self._learn()
        self._consumer.state_dict()

    def account(self) -> dict[str, Any]:
        """What became of the engagement events that were sent."""
        progress = self._progress
        pending = self._consumer.pending
        known = progress.trained + progress.dead_lettered + progress.dropped.total() + pending
        return {
            "produced": self._produced,
            "trained": progress.trained,
            "dead_lettered": progress.dead_lettered,
            "dropped": dict(progress.dropped),
            "pending": pending,
            "unaccounted": self._produced - known,
        }

    def _let_go(self, log: MemoryLog) -> None:
        """Hold no records that were read, as a log with a retention."""
        for topic in topic_roles(self._config):
            for name in (topic, topic + SUFFIX):
                for place, stop in log.end_positions([(name, p) for p in log.partitions(name)]).items():
                    log.trim(place, stop)

    def _figures(self, messages: int, seconds: float) -> dict[str, Any]:
        dead = self._consumer.counts.dead_lettered + self._consumer.counts.side_dead_lettered
        written = sum(
            sum(self._log.end_positions([(topic + SUFFIX, p) for p in self._log.partitions(topic + SUFFIX)]).values())
            for topic in topic_roles(self._config)
        )
        assert written == dead, f"{written} letters were written of {dead}"
        after = self._resident[len(self._resident) // 4]
        return {
            "messages": messages,
            **self.account(),
            "letters": written,
            "restarts": self._restarts,
            "items": len(self._learner.items),
            "users": len(self._learner.users),
            "seconds": round(seconds, 1),
            "messages_per_second": round(messages / seconds),
            "memory_after_a_quarter_mb": round(after),
            "memory_at_the_end_mb": round(self._resident[-1]),
        }
