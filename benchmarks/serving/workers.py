"""Requests per second and memory of ``hsnn serve --workers N``, closed loop over HTTP, for several N in turns.

    python -m benchmarks.serving.workers --items 100000 --workers 1,2 --json FILE

Every server is the real one: it loads a planted version from an embedded Redis, and follows it. One process sends all
requests over some connections, each the next one when the last is answered. It takes processor time itself, so that
beside requests per second there are those per second of the server's processor time, and how many cores each had.
Memory is the proportional set size of all processes of a server: a page that n of them share counts 1/n for each.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.arguments import positive
from benchmarks.churn.planted_data import user_name
from benchmarks.paths import RESULTS_FOLDER
from benchmarks.serving.planted_mirror import plant
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.indexer.store.bulk_load import ItemColumns
from hsnn.indexer.store.writer import IndexStore
from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import key
from hsnn.trainer.snapshot_chunks import write_snapshot

RESULTS = RESULTS_FOLDER / "serving_workers.json"
# users whose requests are sent in turn, as in the other benchmarks of the server
USERS = 200
_TICKS = os.sysconf("SC_CLK_TCK")


class ServeProcess:
    """``hsnn serve`` with some workers."""

    def __init__(self, workers: int, redis_url: str, folder: Path) -> None:
        port_file = folder / f"port-{workers}"
        settings = [f"redis.url={redis_url}", f"streaming.log={redis_url}", "serving.port=0"]
        options = [option for setting in settings for option in ("--set", setting)]
        command = ["serve", "--workers", str(workers), "--port-file", str(port_file), *options]
        self._log = (folder / f"log-{workers}").open("w")
        self._process = subprocess.Popen([sys.executable, "-m", "hsnn", *command], stderr=self._log)
        while not port_file.exists():
            assert self._process.poll() is None, Path(self._log.name).read_text()
            time.sleep(0.05)
        self.port = int(port_file.read_text())
        self._workers = workers
        while not self._all_ready():
            assert self._process.poll() is None, Path(self._log.name).read_text()
            time.sleep(0.2)

    def __enter__(self) -> ServeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def pids(self) -> list[int]:
        """Processes of the server, the supervisor included."""
        workers = self._detail().get("workers", {})
        return [self._process.pid, *(worker["pid"] for worker in workers.values())]

    def cpu_seconds(self) -> float:
        """Processor time of all processes so far."""
        return sum(map(_cpu_seconds, self.pids()))

    def memory(self) -> float:
        """Proportional set size of all processes, MiB."""
        return sum(map(_proportional_kib, self.pids())) / 1024

    def _detail(self) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.port}/healthz/live") as answer:
            detail: dict[str, Any] = json.load(answer)["detail"]
            return detail

    def _all_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/healthz/ready"):
                workers = self._detail().get("workers", {})
        except OSError:
            return False
        return all(worker["ready"] for worker in workers.values())


def measure(port: int, connections: int, seconds: float) -> list[float]:
    """Send requests for so long; return the time of each, seconds."""
    times: list[float] = []
    sent: dict[socket.socket, float] = {}
    received: dict[socket.socket, bytes] = {}
    selector, number = selectors.DefaultSelector(), 0
    requests = [_request(number) for number in range(USERS)]

    def connect_anew() -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(opened, selectors.EVENT_READ)
        return opened

    def send(opened: socket.socket) -> None:
        nonlocal number
        number += 1
        received[opened], sent[opened] = b"", time.perf_counter()
        opened.sendall(requests[number % USERS])

    for _ in range(connections):
        send(connect_anew())
    end = time.perf_counter() + seconds
    while sent:
        for selected, _ in selector.select():
            opened = selected.fileobj
            assert isinstance(opened, socket.socket)
            received[opened] += opened.recv(1 << 16)
            if not received[opened].endswith(b"}"):
                continue
            assert received[opened].startswith(b"HTTP/1.1 200"), received[opened]
            times.append(time.perf_counter() - sent.pop(opened))
            leaves = b"connection: close" in received[opened]
            if leaves or time.perf_counter() >= end:
                selector.unregister(opened)
                opened.close()
            if time.perf_counter() < end:
                send(connect_anew() if leaves else opened)
    return times


def _request(number: int) -> bytes:
    body = json.dumps({"user": user_name(number), "k": 20}).encode()
    return b"POST /v1/retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _round(server: ServeProcess, connections: int, seconds: float) -> dict[str, float]:
    began, own, cpu = time.perf_counter(), time.process_time(), server.cpu_seconds()
    times = measure(server.port, connections, seconds)
    wall, cpu, own = time.perf_counter() - began, server.cpu_seconds() - cpu, time.process_time() - own
    p50, p99 = np.quantile(times, [0.5, 0.99]) * 1000
    return {
        "per_second": len(times) / wall,
        "per_cpu_second": len(times) / cpu,
        "server_cores": cpu / wall,
        "load_cores": own / wall,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _proportional_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _further_worker(memory: dict[int, float], workers: int) -> float:
    """Return what each worker beyond those of the first server takes, as a share of that server's memory."""
    fewest = next(iter(memory))
    return (memory[workers] / memory[fewest] - 1) / max(workers - fewest, 1)


def publish(redis_url: str, items: int, seed: int) -> None:
    """Publish a planted version."""
    made, redis = plant(items, USERS, seed).version, connect(redis_url)
    write_snapshot(redis, made.snapshot)
    columns = ItemColumns(made.snapshot.item_ids, made.snapshot.items["expires_at"])
    IndexStore(redis).write_unpublished(made.manifest, made.index, columns)
    redis.set(key("current"), made.manifest.version)
    redis.close()


def main(arguments: Sequence[str] | None = None) -> None:
    options, console = _options(arguments), Console(width=120)
    with ExitStack() as stack:
        redis_url = stack.enter_context(EmbeddedRedis()).url
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        publish(redis_url, options.items, options.seed)
        servers = {n: stack.enter_context(ServeProcess(n, redis_url, folder)) for n in options.workers}
        rounds: dict[int, list[dict[str, float]]] = {n: [] for n in servers}
        for _ in range(options.rounds):
            for n, server in servers.items():
                rounds[n].append(_round(server, options.connections, options.seconds))
        memory = {n: server.memory() for n, server in servers.items()}
    found = {
        str(n): {name: float(np.median([one[name] for one in looks])) for name in looks[0]}
        | {"memory_mib": memory[n], "further_worker": _further_worker(memory, n)}
        for n, looks in rounds.items()
    }
    console.print(_table(options, found))
    on = {"items": options.items, "connections": options.connections, "cores": os.cpu_count(), "load": os.getloadavg()}
    rounded = {n: {name: round(value, 3) for name, value in one.items()} for n, one in found.items()}
    (options.json or RESULTS).write_text(json.dumps({"on": on, "workers": rounded}, indent=2) + "\n", "utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Requests per second and memory of several workers.")
    parser.add_argument("--items", type=positive, default=100_000)
    parser.add_argument("--workers", type=lambda text: [positive(one) for one in text.split(",")], default=[1, 2])
    parser.add_argument("--connections", type=positive, default=16)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    parser.add_argument("--rounds", type=positive, default=5, help="of each server, in turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="write here instead of the results")
    return parser.parse_args(arguments)


def _table(options: argparse.Namespace, found: dict[str, dict[str, float]]) -> Table:
    table = Table(
        title=f"{options.items:,} items, {options.connections} connections, medians of {options.rounds} rounds"
    )
    names = (
        "requests/s",
        "per server core-second",
        "server cores",
        "load cores",
        "p50 ms",
        "p99 ms",
        "memory MiB",
        "each further",
    )
    for name in ("workers", *names, "x"):
        table.add_column(name, justify="right")
    first = next(iter(found.values()))["per_second"]
    for n, one in found.items():
        table.add_row(n, *(f"{value:,.2f}" for value in one.values()), f"{one['per_second'] / first:.2f}")
    return table


if __name__ == "__main__":
    main()
