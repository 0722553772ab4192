"""Requests per second of one core over HTTP: ``POST /v1/retrieve`` for 20 items, server and defaults as shipped.

    python -m benchmarks.serving.over_http --items 100000 --before ../hsnn-before --json FILE

Counts the CPU time of the server's process alone, so that the client and other programs do not matter. With `--before`
the server of another checkout answers the same requests, in turns with this one's.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from benchmarks.churn.planted_data import user_name

# users who ask, connections at once, and turns of the two servers
USERS, CONNECTIONS, ROUNDS = 200, 4, 5
_ROOT = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


class CheckoutServer:
    """A server of a checkout, as a process of its own."""

    def __init__(self, tree: Path, items: int, seed: int) -> None:
        script = Path(__file__).with_name("http_server.py")
        environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(script), str(items), str(USERS), str(seed)]
        self._process = subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline() or sys.exit(f"the server of {tree} ended"))

    def __enter__(self) -> CheckoutServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def measure(self, requests: int) -> dict[str, float]:
        """Send requests over some connections: requests per CPU second of the server, and median and p99 time, ms."""
        times: list[float] = []
        before = self.cpu_seconds()
        senders = [
            Thread(target=self._send, args=(range(start, requests, CONNECTIONS), times)) for start in range(CONNECTIONS)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert len(times) == requests, "some requests were not answered"
        p50, p99 = np.quantile(times, [0.5, 0.99]) * 1000
        return {"per_cpu_second": requests / (self.cpu_seconds() - before), "p50_ms": float(p50), "p99_ms": float(p99)}

    def _send(self, numbers: Sequence[int], times: list[float]) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as opened:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in numbers:
                body = json.dumps({"user": user_name(number % USERS), "k": 20}).encode()
                began = time.perf_counter()
                opened.sendall(
                    b"POST /v1/retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                )
                answer = opened.recv(1 << 16)
                while not answer.endswith(b"}"):
                    answer += opened.recv(1 << 16)
                assert answer.startswith(b"HTTP/1.1 200"), answer
                times.append(time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    trees = {"this checkout": _ROOT} | ({"before": options.before.resolve()} if options.before else {})
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(CheckoutServer(tree, options.items, options.seed)) for name, tree in trees.items()
        }
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, server in servers.items():
                rounds[name].append(server.measure(options.requests))
    found: dict[str, Any] = {
        name: {key: round(float(np.median([one[key] for one in measured])), 2) for key in measured[0]}
        for name, measured in rounds.items()
    }
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps({"items": options.items} | found, indent=2) + "\n", "utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Requests per CPU second of the server over HTTP.")
    parser.add_argument("--items", type=positive, default=100_000)
    parser.add_argument("--requests", type=positive, default=1000, help="per round")
    parser.add_argument("--before", type=Path, default=None, help="another checkout to compare with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="write here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
