"""One trainer over two hosts, of which one is lost again and again. Writes `results/hosts.json`.

    make bench ARGS='parts.hosts'
    python -m benchmarks.parts.hosts --losses 20 --events 100000 --seed 0 --json FILE

The hosts are two network namespaces on a bridge (Linux, root, `ip` of iproute2), each with a torchrun agent and its
worker; they share the checkpoint folder, and Redis, log and index in one, is on the bridge. A worker is killed, or all
processes of a host, or its cable is out for some seconds. As under systemd, an agent that ends is started again. What
counts: nobody has a hand in it, every event is trained once, and the last checkpoint is that of an undisturbed run.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.arguments import positive
from benchmarks.paths import RESULTS_FOLDER, ROOT
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets import load
from hsnn.streaming.log.open import open_log
from hsnn.streaming.producer.produce import produce
from hsnn.streaming.redis.client import Redis, connect
from hsnn.streaming.redis.keys import key
from hsnn.trainer.checkpoint.digest import digest
from hsnn.trainer.checkpoint.store import CheckpointStore

RESULTS = RESULTS_FOLDER / "hosts.json"
BRIDGE, NETWORK = "hsnn-bridge", "10.213.77"
"""Name and first three numbers of the hosts' network: private, and unlikely to be in use."""
HOSTS = ("hsnn-a", "hsnn-b")
RENDEZVOUS = f"{NETWORK}.11:29400"
"""Where agents meet: on the first host, so that its loss takes the place of meeting along."""
CABLE_OUT_SECONDS = 15.0
"""Longer than the workers wait for one another below: a shorter silence is no loss."""
BACK_SECONDS = 2.0
"""Between the loss of a host and the start of its agent: systemd's order of magnitude."""
AGENT_TIMEOUT_SECONDS = 20
"""That an agent waits for one that came to the rendezvous and was lost with its host; torchrun's own value is 60."""
GIVE_UP_SECONDS = 300.0
"""After which a loss is one that the system did not recover from."""
SETTINGS = {
    "monitoring.worker_timeout": "5s",
    "streaming.patience": "5s",
    "monitoring.trainer_port": 0,
    "streaming.batch_size": 64,
    "trainer.threads": 1,
    "trainer.snapshot_interval": "1s",
}
"""Small batches, so that training takes long enough to be disturbed; a worker that is silent for 10 s is lost."""


class Loss(StrEnum):
    """What happens to a host."""

    WORKER = "worker killed"
    HOST = "all its processes killed"
    CABLE = f"cable out for {CABLE_OUT_SECONDS:.0f} s"


class Recovered(msgspec.Struct):
    """One loss: of which host, after how many events, and the seconds until the next event was trained."""

    loss: Loss
    host: str
    trained: int
    seconds: float


class Found(msgspec.Struct):
    """What a benchmark of losses found."""

    events: int
    trained: int
    dead_lettered: int
    same_checkpoint: bool
    agents_started: int
    losses: list[Recovered]


class Hosts:
    """Two hosts and what runs on them.

    Parameters
    ----------
    redis_url
        Address of log and index, as the hosts reach it.
    folder
        For checkpoints and the hosts' log.
    """

    def __init__(self, redis_url: str, folder: Path) -> None:
        self._url, self._folder = redis_url, folder
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self.started = 0

    def keep_running(self) -> None:
        """Start the agents that do not run, unless their work is done."""
        for host in HOSTS:
            agent = self._agents.get(host)
            if agent is None or agent.poll() not in (None, 0):
                self._agents[host] = self._start(host)
                self.started += 1

    def _start(self, host: str) -> subprocess.Popen[bytes]:
        settings = SETTINGS | {
            "streaming.log": self._url,
            "redis.url": self._url,
            "trainer.checkpoint_dir": self._folder,
        }
        options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        # torchrun finds by the machine's name who holds the store of the rendezvous; both hosts have the same name here
        conf = f"is_host={int(host == HOSTS[0])},read_timeout={AGENT_TIMEOUT_SECONDS}"
        meeting = ["--rdzv-backend", "c10d", "--rdzv-id", "hosts", "--rdzv-endpoint", RENDEZVOUS, "--rdzv-conf", conf]
        local = ["--local-addr", _address(host), "--max-restarts", "1000"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "eth0"}
        with (self._folder.with_suffix(f".{host}.log")).open("ab") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", host, *torchrun, *meeting, *local, "-m", "hsnn", "train", *options],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def lose(self, host: str, loss: Loss) -> None:
        """Make a host suffer a loss, and start again what its service manager would."""
        if loss is Loss.WORKER:
            for worker in self._workers(host):
                os.kill(worker, signal.SIGKILL)
        elif loss is Loss.HOST:
            self._kill_all(host)
            time.sleep(BACK_SECONDS)
        else:
            _run("ip", "link", "set", _cable(host), "down")
            end = time.monotonic() + CABLE_OUT_SECONDS
            while time.monotonic() < end:
                self.keep_running()
                time.sleep(0.1)
            _run("ip", "link", "set", _cable(host), "up")

    def stop(self) -> None:
        """Let the trainer write its last checkpoint and end; kill what does not."""
        for worker in self._workers(HOSTS[0]):
            os.kill(worker, signal.SIGTERM)
        for agent in self._agents.values():
            agent.wait(GIVE_UP_SECONDS)

    def kill(self) -> None:
        """Kill everything on both hosts."""
        for host in HOSTS:
            self._kill_all(host)
        for agent in self._agents.values():
            agent.wait()

    def _workers(self, host: str) -> list[int]:
        return [pid for pid in _processes(host) if b"RANK" in _environment(pid)]

    def _kill_all(self, host: str) -> None:
        while processes := _processes(host):  # one may start another while it is looked at
            for process in processes:
                os.kill(process, signal.SIGKILL)
            self._agents[host].wait()


@contextmanager
def network() -> Iterator[None]:
    """Make the bridge and the hosts on it, and remove them in the end."""
    _remove_network()
    try:
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        for host in HOSTS:
            _run("ip", "netns", "add", host)
            _run("ip", "link", "add", _cable(host), "type", "veth", "peer", "name", "eth0", "netns", host)
            _run("ip", "link", "set", _cable(host), "master", BRIDGE, "up")
            _run("ip", "-n", host, "address", "add", f"{_address(host)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", host, "link", "set", device, "up")
        yield
    finally:
        _remove_network()


def _remove_network() -> None:
    for command in (*(("netns", "delete", host) for host in HOSTS), ("link", "delete", BRIDGE)):
        subprocess.run(["ip", *command], stderr=subprocess.DEVNULL, check=False)


def _address(host: str) -> str:
    return f"{NETWORK}.{11 + HOSTS.index(host)}"


def _cable(host: str) -> str:
    return f"{host}-cable"


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _processes(host: str) -> list[int]:
    return [int(pid) for pid in _run("ip", "netns", "pids", host).split()]


def _environment(process: int) -> list[bytes]:
    """Names of a process's environment variables; none if it has ended."""
    try:
        entries = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
    return [entry.partition(b"=")[0] for entry in entries]


def _progress(redis: Redis, field: str) -> int:
    return int(redis.hget(key("progress"), field) or 0)


def _await_trained(hosts: Hosts, redis: Redis, events: int) -> float:
    """Keep the agents running until so many events are trained, and return the seconds it took."""
    began = time.monotonic()
    while _progress(redis, "trained") < events:
        hosts.keep_running()
        if time.monotonic() - began > GIVE_UP_SECONDS:
            raise RuntimeError(f"{_progress(redis, 'trained'):,} of {events:,} events after {GIVE_UP_SECONDS:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - began


def run(
    redis: Redis, url: str, folder: Path, events: int, *, losses: Sequence[tuple[str, Loss]], expected: str | None
) -> Found:
    """Train all events, and let the hosts suffer losses at equal distances between first and last event.

    The last checkpoint is compared with the digest `expected`; None: there is nothing to compare it with.
    """
    redis.delete(key("progress"))
    folder.mkdir()
    hosts, recovered = Hosts(url, folder), []
    try:
        for number, (host, loss) in enumerate(losses, start=1):
            _await_trained(hosts, redis, number * events // (len(losses) + 1))
            trained = _progress(redis, "trained")
            hosts.lose(host, loss)
            seconds = _await_trained(hosts, redis, trained + 1)
            recovered.append(Recovered(loss, host, trained, seconds))
            print(f"{number}: {host}, {loss}, at {trained:,}; trains again after {seconds:.1f} s", flush=True)
        _await_trained(hosts, redis, events)
        hosts.stop()
    finally:
        hosts.kill()
    return Found(
        events=events,
        trained=_progress(redis, "trained"),
        dead_lettered=_progress(redis, "dead_lettered"),
        same_checkpoint=expected is None or _digest(folder) == expected,
        agents_started=hosts.started,
        losses=recovered,
    )


def _digest(folder: Path) -> str:
    newest = CheckpointStore(folder, 3).newest()
    if newest is None:
        raise RuntimeError(f"no checkpoint in {folder}")
    return digest(newest.arrays, newest.values)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", type=positive, default=20, help="of a worker, a host or its network; 20")
    parser.add_argument("--events", type=positive, default=100_000, help="of ml-100k; 100,000")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the losses; 0")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if os.geteuid() != 0 or shutil.which("ip") is None:
        parser.error("two network namespaces need Linux, root, and ip of iproute2")
    kinds = [(host, loss) for loss in Loss for host in HOSTS]
    losses = [kinds[number % len(kinds)] for number in range(options.losses)]
    random.Random(options.seed).shuffle(losses)
    data = load("ml-100k", limit=options.events)
    on_bridge = {"bind": f"127.0.0.1 {NETWORK}.1", "protected-mode": "no"}
    with network(), tempfile.TemporaryDirectory() as scratch, EmbeddedRedis(options=on_bridge) as server:
        log = open_log(server.url)
        produce(data, log, config=StreamingConfig(log=server.url))
        log.close()
        redis, url = connect(server.url), f"redis://{NETWORK}.1:{server.port}/0"
        quiet = run(redis, url, Path(scratch, "undisturbed"), len(data), losses=[], expected=None)
        print(f"undisturbed: {quiet.trained:,} events", flush=True)
        expected = _digest(Path(scratch, "undisturbed"))
        found = run(redis, url, Path(scratch, "disturbed"), len(data), losses=losses, expected=expected)
        redis.close()
    seconds = [loss.seconds for loss in found.losses]
    print(
        f"{found.trained:,} of {found.events:,} events trained, {found.dead_lettered} dead letters; the checkpoint is "
        f"{'that' if found.same_checkpoint else 'NOT that'} of the undisturbed run; trains again after "
        f"{median(seconds):.1f} s, at most {max(seconds):.1f} s"
    )
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    if not found.same_checkpoint or found.trained != found.events:
        sys.exit(1)


if __name__ == "__main__":
    main()
