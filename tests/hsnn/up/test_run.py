"""``hsnn up`` as a user runs it: events in, recommendations out, a role killed, a stop, and the same shop again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.paths import ROOT
from tests.waiting import START_DEADLINE, eventually


class Running:
    """``hsnn up`` on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = ("serving.port", "monitoring.trainer_port", "monitoring.scheduler_port")
        sets = [word for port in ports for word in ("--set", f"{port}=0")]
        self.output = folder.with_suffix(".txt")
        with self.output.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hsnn", "up", "--folder", str(folder), *sets], stdout=out, stderr=out, cwd=ROOT
            )
        self.wait(lambda: "API: " in self.said() or self.process.poll() is not None, "everything to start")
        assert self.process.poll() is None, self.said()
        line = next(line for line in self.said().splitlines() if line.startswith("API: "))
        self.http = httpx.Client(base_url=line.removeprefix("API: "), timeout=30)

    def said(self) -> str:
        return self.output.read_text()

    def wait(self, condition, what: str) -> None:
        assert eventually(condition, START_DEADLINE), f"waited for {what}; it said:\n{self.said()}"

    def is_ready(self) -> bool:
        try:
            return self.http.get("/healthz/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def pid(self, command: str) -> int:
        """Process id of a role."""
        wanted = [b"-m", b"hsnn", command.encode(), b"--config", str(self.folder / "hsnn.toml").encode()]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            if words[1:6] == wanted:
                return int(path.parent.name)
        raise AssertionError(f"no process {command}")

    def recommended(self) -> set[str]:
        answer = self.http.post("/v1/retrieve", json={"user": "u1", "k": 5})
        return set(answer.json()["items"]) if answer.status_code == 200 else set()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(START_DEADLINE) == 0, self.said()
        assert "stopped; everything is kept" in self.said()


@pytest.mark.slow  # half a minute: four processes start twice, and one of them again
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_shop_that_is_started_killed_stopped_and_started_again(tmp_path):
    items = [{"type": "item", "id": f"i{number}", "features": {"kind": number % 2}} for number in range(20)]
    views = [
        {"type": "interaction", "id": number, "user": f"u{number % 6}", "item": f"i{number * 7 % 20}", "action": "view"}
        for number in range(60)
    ]
    shop = Running(tmp_path / "shop")
    try:
        assert shop.http.post("/v1/events", json=items + views).json() == {"accepted": 80}
        shop.wait(shop.recommended, "recommendations")
        assert shop.recommended() <= {item["id"] for item in items}

        killed = shop.pid("serve")
        os.kill(killed, signal.SIGKILL)
        shop.wait(lambda: "server ended by signal 9" in shop.said(), "the end of the server to be noticed")
        shop.wait(shop.is_ready, "the server to be replaced")
        assert shop.pid("serve") != killed
        assert shop.http.delete("/v1/items/i0").status_code == 202
        shop.wait(lambda: shop.http.get("/v1/items/i0").json()["deleted"], "the deletion to be served")
        version = shop.http.get("/v1/version").json()
        shop.stop()

        shop = Running(tmp_path / "shop")
        shop.wait(shop.is_ready, "the server to be ready again")
        again = shop.http.get("/v1/version").json()
        assert (again["items"], again["users"]) == (version["items"], version["users"])
        assert again["events"] >= 60
        assert shop.http.get("/v1/items/i0").json()["deleted"]
        assert shop.http.get("/v1/items/i1").json()["features"] == {"kind": 1}
        assert shop.recommended()
    finally:
        if shop.process.poll() is None:
            shop.stop()
