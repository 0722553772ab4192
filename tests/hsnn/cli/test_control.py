"""``hsnn control``, as its users start it: what lands in the control topic."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner, Result

from hsnn.cli.app import application
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.schema.commands import End, Expire, Rebalance, SetRates, decode_commands
from tests.paths import ROOT

Call = Callable[..., Result]
WATERMARK = 10_000


@pytest.fixture
def call(redis_client: Redis, redis_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    redis_client.hset("hsnn:{0}:progress", "watermark", WATERMARK)

    def run(*arguments: str) -> Result:
        settings = {"redis.url": redis_server, "streaming.log": redis_server, "streaming.partitions": "2"}
        words = ["control", *arguments]
        for name, value in settings.items():
            words += ["--set", f"{name}={value}"]
        return CliRunner().invoke(application(words), words, prog_name="hsnn")

    return run


@pytest.fixture
def sent(redis_server: str) -> Callable[[], list[object]]:
    def commands() -> list[object]:
        """What each of the two partitions holds; both must hold the same."""
        log = RedisLog(redis_server)
        places = [("control", partition) for partition in log.partitions("control")]
        log.seek(dict.fromkeys(places, 0))
        polled = log.poll(100, 0.5) if places else []
        held = {records.position: list(filter(None, records.values)) for records in polled}
        log.close()
        found = [held.get(place, []) for place in places]
        assert all(part == found[0] for part in found)
        return list(decode_commands(found[0])) if found else []

    return commands


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    file = ROOT / "tests" / "indexer" / "conftest.py"
    spec = importlib.util.spec_from_file_location("toys_for_control", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def crowded(redis_client: Redis, toys: ModuleType) -> None:
    """A version of 4 nodes: 9 items in node 1, one in each of the others."""
    trainer, lease = toys.ToyTrainer(redis_client), Lease(redis_client, 3600, "test")
    assert lease.acquire()
    store = IndexStore(redis_client, lease)
    for number in range(12):
        trainer.put(f"i{number}", number if number < 4 else 1)
    trainer.generation = 5
    Leader(store, Builder(store)).publish(trainer.snapshot(), "test")


def test_rates_are_met_at_the_trainers_watermark_or_where_one_says(call, sent):
    assert call("rates", "--dense-rate", "0.001").exit_code == 0
    assert call("rates", "--embedding-rate", "0.1", "--at", "77").exit_code == 0
    assert sent() == [SetRates(ts=WATERMARK, dense_rate=0.001), SetRates(ts=77, embedding_rate=0.1)]


def test_a_rate_must_be_named_and_be_one(call, sent):
    assert call("rates").exit_code == 2
    assert call("rates", "--dense-rate", "0").exit_code == 2
    assert sent() == []


def test_the_end_of_a_stream(call, sent):
    assert call("end", "--at", "5").exit_code == 0
    assert sent() == [End(ts=5)]


def test_a_rebalance_names_what_is_out_of_bounds(call, sent, crowded):
    answer = call("rebalance")
    assert "every node is within its bounds" in answer.output, "9 items are few, whatever the mean"
    assert sent() == []
    answer = call("rebalance", "--over", "2")
    assert (answer.exit_code, "1 nodes to split, 0 to merge away" in answer.output) == (0, True)
    (command,) = sent()
    assert isinstance(command, Rebalance)
    assert (command.split, command.merge, command.over) == ((1,), (), 2.0)
    assert (command.generation, command.version, command.ts) == (5, 1, WATERMARK)


def test_a_rebalance_of_nodes_that_a_person_names(call, sent, crowded):
    assert call("rebalance", "--split", "0", "--split", "2", "--merge", "3").exit_code == 0
    (command,) = sent()
    assert isinstance(command, Rebalance)
    assert (command.split, command.merge) == ((0, 2), (3,))


@pytest.mark.parametrize("words", [("--split", "4"), ("--split", "1", "--merge", "9")])
def test_a_node_that_the_version_does_not_have_is_refused(call, sent, crowded, words):
    answer = call("rebalance", *words)
    assert (answer.exit_code, f"version 1 has nodes 0 to 3, and no {words[-1]}" in answer.output) == (2, True)
    assert sent() == []


def test_without_a_version_there_is_nothing_to_rebalance(call, sent):
    assert isinstance(call("rebalance").exception, VersionNotFoundError)
    assert sent() == []


def test_expire_confirms_up_to_now_as_quiet_streams_count_it(call: Call, sent, redis_client: Redis) -> None:
    result = call("expire", "--until", "77")
    assert result.exit_code == 0, result.output
    assert "items whose time ends by 77 leave" in result.output
    assert sent() == [Expire(WATERMARK, 77)]
    seconds, _ = redis_client.time()
    redis_client.hset("hsnn:{0}:progress", "arrived_at", 1000 * seconds - 60_000)
    assert call("expire").exit_code == 0
    until = sent()[-1].until
    assert 60_000 <= until - WATERMARK < 600_000
