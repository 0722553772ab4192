"""The whole process, in threads: streams in, versions and deltas out."""

import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager

import pytest
from prometheus_client import REGISTRY

from hsnn.indexer.admin.operations import hold_publishing, release_publishing, rollback
from hsnn.indexer.admin.repair import repair
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.control import await_leader, send_request
from hsnn.indexer.jobs.history import list_jobs, run_history
from hsnn.indexer.jobs.scheduler import Scheduler, run
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.verify import verify
from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.health import Health
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.producer.commands import CommandSender
from hsnn.streaming.redis.client import connect
from hsnn.streaming.schema.commands import decode_commands
from tests.waiting import DEADLINE, START_DEADLINE, eventually

pytestmark = [pytest.mark.slow, pytest.mark.long]

# Seconds between sweeps: what happens within a test was announced.
SWEEP = 10 * DEADLINE

QUICK = IndexerConfig(lease_ttl="60s", refresh_sweep=SWEEP, alarm_sweep=SWEEP, item_sweep=SWEEP)


@contextmanager
def scheduling(url, config=QUICK, owner="one", send=None):
    stop, health = threading.Event(), Health("scheduler")
    client = connect(url)
    scheduler = Scheduler(client, config, MonitoringConfig(), health, owner=owner, send=send)
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        yield health
    finally:
        stop.set()
        thread.join(DEADLINE)
        client.close()
        assert not thread.is_alive()


@pytest.fixture
def reader(redis_client) -> IndexStore:
    return IndexStore(redis_client)


def test_first_version_new_items_expiry_and_return_follow_the_streams(redis_server, reader, toy) -> None:
    with scheduling(redis_server) as health:
        toy.put("early", 2)
        toy.snapshot()
        toy.put("just after", 1)
        assert eventually(lambda: reader.current() == 1)
        assert eventually(lambda: reader.item_nodes(1) == toy.alive())
        for number in range(20):
            toy.put(f"new{number}", number % 4)
            assert eventually(lambda name=f"new{number}": name in reader.item_nodes(1))
        toy.pass_time(5000)
        assert eventually(lambda: reader.item_nodes(1) == {})
        toy.engage("i1")
        assert eventually(lambda: reader.item_nodes(1) == {"i1": 1})
        assert health.liveness()[0]
        assert health.readiness()[0]
    assert reader.redis.get(reader.key("lease")) is None, "the lease is given back at the end"


def test_snapshots_become_versions_and_are_told_to_readers(redis_server, reader, toy) -> None:
    with scheduling(redis_server):
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1)
        toy.shift = 1
        toy.snapshot()
        found = []
        assert eventually(lambda: found.extend(reader.read_deltas(1, block_ms=500)) or found)
        assert (found[0][1].op, found[0][1].version) == ("superseded", 2)
        assert reader.item_nodes(2) == toy.alive()


def test_an_alarm_leads_to_a_refresh_a_version_and_a_record(redis_server, reader, toy) -> None:
    audit = AuditTrail(reader.redis, reader.key("audit"))
    with scheduling(redis_server):
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1)
        assert audit.read() == []
        number = toy.snapshot(announce=False)
        alarm = Alarm(id="mix_drift:1", kind="mix_drift", ts=1, value=1.0, threshold=0.25)
        reader.redis.xadd(reader.key("alarms"), {"d": alarm.encode(), "snapshot": number})
        time.sleep(0.05)
        reader.redis.xadd(reader.key("snapshots"), {"n": number})
        assert eventually(lambda: any(entry.event == "outcome" for entry in audit.read()))
        outcome = audit.read()[-1]
        assert (outcome.kind, outcome.action, outcome.outcome, outcome.version) == ("mix_drift", "refresh", "done", 2)
        assert reader.current() == 2
        assert reader.manifest(2).snapshot == number


def test_another_takes_over_and_the_pushed_out_one_stands_by(redis_server, reader, toy) -> None:
    soon = QUICK.model_copy(update={"lease_ttl": 1.0})  # a third of it passes before it is tried again
    with scheduling(redis_server, soon, owner="one"):
        toy.snapshot()
        assert eventually(reader.current)
        with scheduling(redis_server, soon, owner="two"):
            thief = Lease(reader.redis, 3600, "thief")
            assert thief.acquire(force=True)
            toy.put("in between", 2)
            time.sleep(0.2)
            thief.release()
            assert eventually(lambda: reader.item_nodes(reader.current()) == toy.alive())
            before, toy.shift = reader.current(), 3
            toy.snapshot()
            assert eventually(lambda: reader.current() > before)
            assert eventually(lambda: reader.item_nodes(reader.current()) == toy.alive())
    assert int(reader.redis.get(reader.key("fence"))) >= 3
    assert all(verify(reader, number).clean for number in reader.versions())


def test_a_rollback_by_hand_beside_the_running_scheduler(redis_server, reader, toy) -> None:
    with scheduling(redis_server):
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1)
        toy.shift = 1
        toy.snapshot()
        assert eventually(lambda: reader.current() == 2)
        toy.put("since", 0)
        assert eventually(lambda: "since" in reader.item_nodes(2))
        rollback(reader.redis, 1, QUICK)
        assert reader.current() == 1
        toy.shift = 0
        assert eventually(lambda: reader.item_nodes(1) == toy.alive())
        toy.put("later", 3)
        assert eventually(lambda: reader.item_nodes(1) == toy.alive())
        assert reader.current() == 1
    assert AuditTrail(reader.redis, reader.key("audit")).read()[-1].event == "rollback"


def test_a_scheduler_survives_the_loss_of_everything_in_redis(redis_server, reader, toy) -> None:
    with scheduling(redis_server):
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1)
        reader.redis.flushall()
        toy.feed_id = toy.state_id = "0-0"
        toy.restart()
        toy.snapshot()
        assert eventually(lambda: reader.current() is not None)
        toy.put("new", 2)
        assert eventually(lambda: reader.item_nodes(reader.current()) == toy.alive())


def test_the_process_shows_metrics_and_health_and_ends(redis_server, reader, toy) -> None:
    stop, ports = threading.Event(), []
    monitoring = MonitoringConfig(scheduler_port=0)
    thread = threading.Thread(
        target=run, args=(QUICK, monitoring, redis_server), kwargs={"stop": stop, "listening": ports.append}
    )
    thread.start()
    try:
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1 and ports)
        toy.put("new", 2)
        assert eventually(lambda: "new" in reader.item_nodes(1))
        base = f"http://127.0.0.1:{ports[0]}"

        def page(name: str) -> str:
            with urllib.request.urlopen(base + name, timeout=DEADLINE) as answer:
                return answer.read().decode()

        assert eventually(lambda: "hsnn_index_items 9.0" in page("/metrics"))
        shown = page("/metrics")
        assert "hsnn_index_nodes 4.0" in shown
        assert "hsnn_index_dead_nodes 0.0" in shown
        assert f"hsnn_index_max_over_mean {3 / (9 / 4)}" in shown
        assert 'hsnn_job_runs_total{job="refresh",outcome="done"}' in shown
        assert '"ok": true' in page("/healthz/live")
        assert '"ok": true' in page("/healthz/ready")
    finally:
        stop.set()
        thread.join(DEADLINE)
    assert not thread.is_alive()


PROCESS = """
import sys
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.scheduler import run
from hsnn.monitoring.config import MonitoringConfig
run(IndexerConfig(), MonitoringConfig(scheduler_port=0), sys.argv[1])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly(redis_server, reader, toy, number) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROCESS, redis_server], stderr=subprocess.PIPE, text=True)
    try:
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1, seconds=START_DEADLINE)
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0
        assert reader.redis.get(reader.key("lease")) is None
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()


def test_requests_and_holds_reach_the_leader_and_outlast_it(redis_server, reader, toy) -> None:
    def shown(name):
        return next(job for job in list_jobs(reader) if job.name == name)

    with scheduling(redis_server):
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1)
        own = [job.name for job in list_jobs(reader) if job.name != "rebalance"]  # it needs a log to send to
        assert eventually(lambda: all(shown(name).runs for name in own))
        assert await_leader(reader, send_request(reader, "run", "clean"), DEADLINE)
        assert eventually(lambda: "by hand" in [run.who for run in run_history(reader, "clean")])
        assert await_leader(reader, send_request(reader, "pause", "refresh"), DEADLINE)
        hold_publishing(reader.redis, "wait")
    with scheduling(redis_server, owner="next"):
        assert await_leader(reader, send_request(reader, "run", "settle"), DEADLINE)
        runs = shown("refresh").runs
        toy.snapshot()
        toy.put("new", 3)
        assert eventually(lambda: "new" in reader.item_nodes(1))
        assert (reader.current(), shown("refresh").runs, shown("refresh").paused) == (1, runs, True)
        assert REGISTRY.get_sample_value("hsnn_publishing_held") == 1
        assert await_leader(reader, send_request(reader, "resume", "refresh"), DEADLINE)
        assert eventually(lambda: shown("refresh").state.last.outcome == "held")
        assert reader.current() == 1
        release_publishing(reader.redis)
        assert eventually(lambda: reader.current() == 2)
        assert eventually(lambda: REGISTRY.get_sample_value("hsnn_publishing_held") == 0)


def test_damage_is_repaired_beside_the_running_scheduler(redis_server, reader, toy) -> None:
    with scheduling(redis_server):
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1)
        reader.redis.hdel(reader.key("items", 1), "i1")
        reader.redis.hset(reader.key("items", 1), "ghost", 0)
        assert repair(reader.redis, 1, QUICK)[1].clean
        toy.put("new", 3)
        assert eventually(lambda: reader.item_nodes(1) == toy.alive()), "and the leader goes on"
        assert verify(reader, 1, recheck_after=1.0).clean


def test_a_crowded_node_is_asked_to_be_split_once_and_the_answer_is_on_record(redis_server, reader, toy) -> None:
    """Items arrive as deltas and crowd a node; one command on a real log, also over a change of leaders."""
    streaming = StreamingConfig(log=redis_server, partitions=1)
    eager = {"rebalance_interval": 0.05, "rebalance_over_mean": 2.0, "node_floor": 5, "rebalance_starved": 1.0}
    config, audit = QUICK.model_copy(update=eager), AuditTrail(reader.redis, reader.key("audit"))

    def commands() -> list:
        log = RedisLog(redis_server)
        log.seek({("control", 0): 0})
        polled = log.poll(10, 0.2) if log.partitions("control") else []
        log.close()
        return decode_commands([value for records in polled for value in records.values])

    def said(event: str) -> list:
        return [entry for entry in audit.read() if entry.event == event and entry.action == "rebalance"]

    with scheduling(redis_server, config, send=CommandSender(streaming)):
        toy.snapshot()
        assert eventually(lambda: reader.current() == 1)
        for number in range(12):
            toy.put(f"new{number}", 1)
        assert eventually(lambda: said("action"))
    with scheduling(redis_server, config, owner="next", send=CommandSender(streaming)):
        assert await_leader(reader, send_request(reader, "run", "rebalance"), DEADLINE)
        time.sleep(0.3)
        (command,) = commands()
        assert (command.split, command.generation, command.version) == ((1,), 0, 1)
        toy.generation = 1
        for item in toy.items:
            item.cluster = toy.row(item.id) % 4
        toy.snapshot()
        assert eventually(lambda: said("outcome"))
    (outcome,) = said("outcome")
    assert (outcome.version, outcome.detail["generation"]) == (2, 1)
    assert outcome.detail["after"] < 2.0 < outcome.detail["before"]
    assert len(commands()) == 1
