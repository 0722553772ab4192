"""Two loops on one Redis and one log, with two models, and one server that splits its users over both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hsnn.config.schema import Config
from hsnn.demo.collector import decode_hash
from hsnn.demo.processes import RoleProcesses
from hsnn.demo.sandbox import ready
from hsnn.demo.settings import free_ports, write
from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.schema.events import Interaction, encode
from tests.waiting import DEADLINE, START_DEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

OTHER = "challenger"
USERS, ITEMS = 40, 128
# Events before the server is asked, and in all.
FIRST, EVENTS = 4096, 6144
START = 1_700_000_000_000


def events() -> Iterator[Interaction]:
    """Users who walk through the items of their taste one by one."""
    rng = np.random.default_rng(3)
    place = rng.integers(0, ITEMS, USERS)
    for number in range(EVENTS):
        user = int(rng.integers(USERS))
        place[user] = (place[user] + 4) % ITEMS
        yield Interaction(id=number, ts=START + 1000 * number, user=f"u{user}", item=f"i{place[user]}", action="click")


def config(folder: Path, url: str, *, server: int, prefix: str, **trainer: object) -> Config:
    """One of two loops, that of a prefix; `server` is the port of the server of both."""
    ports = free_ports(2)
    return Config.model_validate(
        {
            "redis": {"url": url, "prefix": prefix},
            "streaming": {"log": url, "batch_size": 64, "partitions": 2, "group": prefix},
            "trainer": {
                "checkpoint_dir": folder / prefix,
                "index": {"seed_after": 1024},
                "model": {"nodes": 16, "beam": 4, "buckets": 256},
                "server": f"http://127.0.0.1:{server}",
                "prequential_share": 0.2,
                "prequential_deadline": "1m",
                **trainer,
            },
            "serving": {
                "port": server,
                "deadline": "1m",
                "engine": False,  # kernels would be compiled first in a fresh clone
                "experiment": {
                    "name": "models",
                    "arms": {"old": {"share": 0.5}, "new": {"share": 0.5, "prefix": OTHER}} if prefix != OTHER else {},
                },
            },
            "monitoring": {"trainer_port": ports[0], "scheduler_port": ports[1]},
        }
    )


class Loops:
    """The processes of both loops, and the server."""

    def __init__(self, folder: Path, url: str, redis: Redis) -> None:
        self._folder, self._url, self._redis = folder, url, redis
        (port,) = free_ports(1)
        self.server = f"http://127.0.0.1:{port}"
        self.roles = RoleProcesses(folder, {"OMP_NUM_THREADS": "1"})
        self.readers = {"hsnn": IndexReader(redis), OTHER: IndexReader(redis, OTHER)}
        # The other loop makes a version every second, the server's own one alone.
        write(config(folder, url, server=port, prefix="hsnn", snapshot_interval="1h"), folder / "hsnn.toml")
        other = config(folder, url, server=port, prefix=OTHER, snapshot_interval="1s", seed=1)
        write(other, folder / f"{OTHER}.toml")
        self._log = open_log(url)
        for topic in ("engagements", "items", "users"):
            self._log.create_topic(topic, 2)

    def start(self, role: str, prefix: str) -> None:
        self.roles.start(f"{role}-{prefix}", [role, "--config", str(self._folder / f"{prefix}.toml")])

    def send(self, sent: list[Interaction]) -> None:
        self._log.append("engagements", [ProducerRecord(str(event.user).encode(), encode(event)) for event in sent])
        self._log.flush()

    def progress(self, prefix: str) -> dict[str, Any]:
        return decode_hash(self._redis.hgetall(self.readers[prefix].key("progress")))  # type: ignore[arg-type]

    def wait_until_learned(self, count: int, prefix: str) -> None:
        learned = lambda: int(self.progress(prefix).get("trained", 0)) == count  # noqa: E731
        self.roles.wait_until(learned, f"{prefix} to learn {count} events", 4 * DEADLINE)

    def ask(self, user: str, **query: object) -> dict[str, Any]:
        answer = httpx.post(f"{self.server}/v1/retrieve", json={"user": user, "k": 10, **query}, timeout=60.0)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def value(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(httpx.get(f"{self.server}/metrics", timeout=60.0).text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def end(self) -> None:
        self.roles.end()
        self._log.close()


@pytest.fixture
def loops(tmp_path: Path, redis_client: Redis, redis_server: str) -> Iterator[Loops]:
    loops = Loops(tmp_path, redis_server, redis_client)
    try:
        yield loops
    finally:
        loops.end()


def test_one_server_answers_from_two_models_and_each_loop_goes_its_own_way(loops: Loops) -> None:
    every = list(events())
    loops.send(every[:FIRST])
    for role in ("train", "schedule"):
        loops.start(role, "hsnn")
    loops.start("serve", "hsnn")
    loops.roles.wait_until(lambda: ready(loops.server), "the server, with its own index alone", 2 * START_DEADLINE)
    loops.wait_until_learned(FIRST, "hsnn")
    alone = [loops.ask(f"u{user}") for user in range(USERS)]
    assert {answer["index"] for answer in alone} == {"hsnn"}
    late = sum(answer["arm"] == "new" for answer in alone)
    assert 0 < late < USERS
    assert loops.value("hsnn_arm_fallbacks_total", arm="new", reason="missing") == late

    for role in ("train", "schedule"):
        loops.start(role, OTHER)
    loops.wait_until_learned(FIRST, OTHER)

    def other_is_ready() -> bool:
        detail = httpx.get(f"{loops.server}/healthz/ready", timeout=60.0).json()["detail"]
        return bool(detail["indexes"][OTHER]["ready"])

    loops.roles.wait_until(other_is_ready, "the index of the other loop", START_DEADLINE)
    loops.send(every[FIRST:])
    for prefix in loops.readers:
        loops.wait_until_learned(EVENTS, prefix)
    shown = lambda: loops.value("hsnn_arm_index_version", index=OTHER)  # noqa: E731
    loops.roles.wait_until(
        lambda: shown() == loops.readers[OTHER].current() > 1,  # type: ignore[operator]
        "the other loop's last version",
        4 * DEADLINE,
    )
    assert loops.readers["hsnn"].current() == loops.value("hsnn_index_version") == 1, "no flip touched the own index"

    end = START + 1000 * (EVENTS - 1)
    loops.roles.wait_until(
        lambda: all(loops.ask("u0", index=index)["as_of"] == end for index in loops.readers),
        "both indexes to have the states of the last event",
        4 * DEADLINE,
    )
    before = {arm: loops.value("hsnn_arm_seconds_count", arm=arm, role="served") for arm in ("old", "new")}
    different = 0
    for user in range(USERS):
        given = loops.ask(f"u{user}")
        both = {index: loops.ask(f"u{user}", index=index) for index in loops.readers}
        assert (given["arm"], given["index"]) in {("old", "hsnn"), ("new", OTHER)}
        assert given["items"] == both[given["index"]]["items"]
        assert [answer["version"] for answer in both.values()] == [1, loops.readers[OTHER].current()]
        different += both["hsnn"]["items"] != both[OTHER]["items"]
    assert different > USERS / 2, "they are two models"
    after = {arm: loops.value("hsnn_arm_seconds_count", arm=arm, role="served") for arm in ("old", "new")}
    assert {arm: after[arm] - before[arm] for arm in after} == {"old": USERS - late, "new": late}
    # each trainer measures its own versions, though both ask the same server
    assert [int(version) for version in loops.progress("hsnn")["by_version"]] == [1]
    for prefix in loops.readers:
        assert loops.progress(prefix)["measured"] > 0
    assert max(int(version) for version in loops.progress(OTHER)["by_version"]) > 1
