from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from hsnn.embedded.process import free_port
from hsnn.streaming.redis.client import connect
from tests.paths import ROOT
from tests.waiting import DEADLINE


@pytest.mark.slow
def test_a_server_runs_until_it_is_asked_to_end_and_keeps_its_data(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "hsnn", "redis", "start", "--port", str(port), "--data", str(tmp_path / "redis")]
    for expected in (None, b"kept"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            line = process.stdout.readline()
            assert line == f"REDIS_URL=redis://127.0.0.1:{port}/0\n"
            client = connect(line.removeprefix("REDIS_URL=").strip())
            assert client.get("name") == expected
            client.set("name", "kept")
            client.close()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 0
            process.stdout.close()
