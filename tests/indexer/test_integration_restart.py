"""Redis is killed under a scheduler and comes back without its last writes; the scheduler begins with what is there."""

import threading
import time

import pytest

from hsnn.embedded import EmbeddedRedis
from hsnn.embedded.process import accepts
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.scheduler import Scheduler
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.health import Health
from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import key
from tests.waiting import DEADLINE, eventually

pytestmark = pytest.mark.slow

QUIET = IndexerConfig(lease_ttl="60s", refresh_sweep="2s", alarm_sweep="60s", item_sweep="60s")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "redis"


@pytest.fixture
def scheduled(folder):
    """Servers that keep what they hold, one at first; a client, and a scheduler that works on it."""
    servers = [EmbeddedRedis(folder=folder).start()]
    client, own = connect(servers[0].url), connect(servers[0].url)
    stop, health = threading.Event(), Health("scheduler")
    thread = threading.Thread(target=Scheduler(own, QUIET, MonitoringConfig(), health).run, args=(stop,))
    thread.start()
    yield servers, client, health
    stop.set()
    thread.join(DEADLINE)
    for server in servers:
        server.stop()
    assert not thread.is_alive()


def test_a_delta_that_redis_lost_is_written_again(scheduled, toy, folder) -> None:
    servers, client, health = scheduled
    toy, reader = type(toy)(client, idle=None), IndexStore(client)
    toy.put("early", 2)
    toy.snapshot()
    assert eventually(lambda: reader.current() == 1)
    written = next((folder / "appendonlydir").glob("*.incr.aof"))
    before = written.stat().st_size
    toy.put("late", 1)
    assert eventually(lambda: "late" in reader.item_nodes(1))
    servers[0].kill()
    while accepts(servers[0].port):
        time.sleep(0.01)
    blob = written.read_bytes()
    written.write_bytes(blob[: blob.index(key("deltas", 1).encode(), before)])  # in the middle of the leader's write
    servers.append(EmbeddedRedis(servers[0].port, folder).start())
    assert eventually(lambda: "late" in reader.item_nodes(1))
    assert reader.item_nodes(1) == toy.alive()
    toy.put("later", 3)
    assert eventually(lambda: reader.item_nodes(1) == toy.alive())
    assert health.liveness()[0]
