"""The server as a process of its own, for tests over HTTP."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.paths import ROOT
from tests.waiting import DEADLINE

SERVE = """
import sys
from pathlib import Path
from threading import Thread
from hsnn.serving.config import ServingConfig
from hsnn.serving.api.server import ServerSettings
from hsnn.serving.api.server import run
run(ServerSettings(ServingConfig.model_validate_json(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
"""


class ServerProcess:
    """The server as a process of its own."""

    def __init__(
        self, redis_url: str, folder: Path, config: str = '{"port": 0, "engine": false}', program: str = SERVE
    ) -> None:
        self.port_file = folder / "port"
        self.popen = subprocess.Popen([sys.executable, "-c", program, config, redis_url, str(self.port_file)], cwd=ROOT)
        end = time.monotonic() + 100
        while not self.port_file.exists():
            assert self.popen.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{int(self.port_file.read_text())}"

    def wait_ready(self) -> None:
        end = time.monotonic() + 500  # kernels are compiled where nobody has done so
        while httpx.get(f"{self.url}/healthz/ready").status_code != 200:
            assert time.monotonic() < end, "the server did not become ready"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        try:
            return self.popen.wait(timeout=DEADLINE)
        finally:
            self.popen.kill()
