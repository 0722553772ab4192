"""The dashboards show data: a real Prometheus, with the project's own configuration, scrapes a loop that learns."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from hsnn.config.loader import load
from hsnn.demo.sandbox import LogKind, Sandbox, ready
from hsnn.embedded.process import free_port
from tests.paths import ROOT
from tests.waiting import START_DEADLINE, wait_until

DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))

# A model that has nodes soon, snapshots at once, and alarms: a window with other items than the one before is a drift.
SETTINGS = (
    "trainer.model.nodes=16",
    "trainer.index.seed_after=512",
    "trainer.prequential_share=0.2",
    "trainer.snapshot_interval=2s",
    "monitoring.mix_drift.window=512",
    "monitoring.mix_drift.warm_up=1",
    "monitoring.mix_drift.threshold=0.001",
    "monitoring.mix_drift.ratio=1",
    "serving.deadline=60s",
)

FIRST_TS = 1_700_000_000_000
USERS, ITEMS, CALL = 40, 60, 500


@pytest.fixture
def prometheus() -> str:
    """Path of Prometheus, which comes with promtool; without it a skip, with REQUIRE_PROMTOOL=1 a failure."""
    path = shutil.which("prometheus")
    if path is None:
        assert not os.environ.get("REQUIRE_PROMTOOL"), "prometheus is required and not installed"
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    return path


@contextmanager
def scraping(program: str, targets: dict[str, str], folder: Path) -> Iterator[str]:
    """Run it on deploy/prometheus.yml with these targets by role; yields its address."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text("utf-8"))
    config["global"]["scrape_interval"] = "1s"
    config["rule_files"] = [str(ROOT / "deploy" / "alerts" / "*.yml")]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    port = free_port()
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = subprocess.Popen(command, cwd=folder)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def send(server: str, call: int) -> None:
    """Send interactions of users who have a taste, some with items that are new, the first of them twice."""
    rng = np.random.default_rng(call)
    users = rng.integers(USERS, size=CALL)
    items = (rng.integers(ITEMS // 3 + call, size=CALL) * 3 + users % 3).tolist()
    events = [
        {"type": "interaction", "id": f"{call}-{number}", "ts": FIRST_TS + 1000 * (CALL * call + number)}
        | {"user": f"u{user}", "item": f"i{item}", "action": "view"}
        for number, (user, item) in enumerate(zip(users.tolist(), items, strict=True))
    ]
    assert httpx.post(f"{server}/v1/events", json=[*events, events[0]], timeout=60.0).status_code == 202


def queries() -> dict[str, str]:
    """Every query of the dashboards, and the panel that it is of."""
    panels = [panel for path in DASHBOARDS for panel in json.loads(path.read_text("utf-8"))["panels"]]
    return {target["expr"]: panel["title"] for panel in panels for target in panel["targets"]}


def has_data(prometheus: str, query: str) -> bool:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=60.0).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    return any(not math.isnan(float(series["value"][1])) for series in answer["data"]["result"])


@pytest.mark.slow
@pytest.mark.long
def test_every_query_returns_data(prometheus: str, tmp_path: Path) -> None:
    sandbox = Sandbox(load(None, SETTINGS), LogKind.redis, None)
    try:
        sandbox.start()
        roles = {"trainer": sandbox.trainer, "scheduler": sandbox.scheduler, "server": sandbox.server}
        targets = {role: url.removeprefix("http://") for role, url in roles.items()}
        with scraping(prometheus, targets, tmp_path) as address:
            sent = 0
            missing = queries()
            assert len(missing) > 20

            def shown() -> bool:
                nonlocal sent, missing
                send(sandbox.server, sent)
                sent += 1
                if ready(sandbox.server):
                    httpx.post(f"{sandbox.server}/v1/retrieve", json={"user": "u1", "k": 5}, timeout=60.0)
                missing = {query: panel for query, panel in missing.items() if not has_data(address, query)}
                return not missing

            try:
                wait_until(shown, START_DEADLINE)
            except AssertionError:
                pytest.fail(f"no data: {missing}")
    finally:
        sandbox.end()
