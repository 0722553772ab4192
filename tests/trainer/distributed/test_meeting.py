from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from torch.distributed import DistStoreError, HashStore

from hsnn.embedded.process import free_port
from hsnn.trainer.distributed import meeting
from hsnn.trainer.distributed.meeting import agree_on_round
from tests.waiting import DEADLINE, START_DEADLINE


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(meeting, "_POLL_SECONDS", 0.001)


def meet(store: HashStore, size: int) -> list[str]:
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(lambda rank: agree_on_round(store, rank, size, 10), range(size)))


@pytest.mark.parametrize("size", [2, 3, 7])
def test_all_workers_of_a_start_agree_and_each_start_has_its_own_name(size):
    store = HashStore()
    rounds = [meet(store, size) for _ in range(4)]
    assert all(len(set(names)) == 1 for names in rounds)
    assert len({names[0] for names in rounds}) == 4


def wait_in_vain(store: HashStore, rank: int) -> None:
    with pytest.raises(DistStoreError):
        agree_on_round(store, rank, 3, 0.03)


@pytest.mark.parametrize("early", [[0], [1], [2], [0, 1], [1, 2]])
def test_workers_that_were_lost_while_they_waited_do_no_harm(early):
    store = HashStore()
    with ThreadPoolExecutor(3) as threads:  # some of a start come, and are ended with it
        list(threads.map(lambda rank: wait_in_vain(store, rank), early))
    assert len(set(meet(store, 3))) == 1


def test_a_worker_that_is_started_again_while_others_wait_is_awaited():
    store = HashStore()
    store.set("arrived/1", "a worker that has ended")
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(agree_on_round, store, rank, 3, 10) for rank in (0, 2)]
        time.sleep(0.05)
        assert not any(call.done() for call in waiting)
        name = agree_on_round(store, 1, 3, 10)
        assert [call.result() for call in waiting] == [name, name]


def test_missing_workers_are_named():
    with pytest.raises(DistStoreError, match=r"workers 1, 2 within 0\.05 s"):
        agree_on_round(HashStore(), 0, 3, 0.05)
    with pytest.raises(DistStoreError, match="all other workers"):
        agree_on_round(HashStore(), 1, 3, 0.05)


_WORKER = """
import os, sys, time
from pathlib import Path
from hsnn.trainer.distributed.process_group import join_process_group
world = join_process_group(60, "same")
folder = Path(sys.argv[1])
(folder / f"met-{os.getpid()}").touch()
while not world.all_gather_ints([int((folder / "end").exists())]).any():
    time.sleep(0.02)
"""


@pytest.mark.slow  # two agents and their workers import torch twice: as long as it takes for two hosts to meet again
@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_agents_meet_again_after_a_worker_of_one_was_lost(tmp_path: Path):
    script, endpoint = tmp_path / "worker.py", f"127.0.0.1:{free_port()}"
    script.write_text(_WORKER)
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-backend", "c10d"]
    options += ["--rdzv-id", "test", "--rdzv-endpoint", endpoint, str(script), str(tmp_path)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    agents = [subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *options], env=env) for _ in range(2)]
    try:
        first = _await_workers(tmp_path, 2, START_DEADLINE)
        os.kill(int(first[0].name.partition("-")[2]), signal.SIGKILL)
        _await_workers(tmp_path, 4, START_DEADLINE)
        (tmp_path / "end").touch()
        assert [agent.wait(DEADLINE) for agent in agents] == [0, 0]
    finally:
        for agent in agents:
            agent.kill()


def _await_workers(folder: Path, count: int, seconds: float) -> list[Path]:
    end = time.monotonic() + seconds
    while len(met := list(folder.glob("met-*"))) < count:
        assert time.monotonic() < end, f"only {len(met)} of {count} workers have met"
        time.sleep(0.05)
    return met
