"""A job is added by one file: the leader runs it, people can run and pause it, and a stream triggers it."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.control import ControlOp, send_request
from hsnn.indexer.jobs.history import run_history
from hsnn.indexer.jobs.scheduler import Scheduler
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.health import Health
from hsnn.streaming.redis.client import Redis
from tests.extensions import one_file_added
from tests.waiting import DEADLINE, wait_until

COUNT = """
    from hsnn.indexer.jobs.scheduled_job import ScheduledJob

    def create(services):
        store = services.leader.store
        return lambda: store.redis.incr(store.key("counted"))

    JOB = ScheduledJob(create=create, every=lambda config: 3600.0, stream="countable")
    """


def test_a_job_is_added_by_one_file(redis_client: Redis, tmp_path: Path) -> None:
    stop, reader = Event(), IndexReader(redis_client)

    def causes() -> list[str]:
        return [run.who for run in run_history(reader, "count")]

    with one_file_added("hsnn.indexer.jobs.scheduled", tmp_path, "count", COUNT):
        scheduler = Scheduler(redis_client, IndexerConfig(lease_ttl="60s"), MonitoringConfig(), Health("scheduler"))
        thread = Thread(target=scheduler.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda: "swept" in causes())  # once when leadership begins
            redis_client.xadd(reader.key("countable"), {"d": b""})
            wait_until(lambda: "called" in causes())  # when its stream has an entry
            send_request(reader, ControlOp.RUN, "count")
            wait_until(lambda: "by hand" in causes())  # when somebody asks for it
        finally:
            stop.set()
            thread.join(DEADLINE)
        assert int(redis_client.get(reader.key("counted"))) == len(causes()) >= 3
