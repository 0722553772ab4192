"""The demo itself, its real processes on a small data set: a good run, Ctrl+C once and twice, a role that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hsnn.demo.sandbox import ready
from tests.paths import ROOT
from tests.waiting import DEADLINE, START_DEADLINE, eventually

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]


class Run:
    """A demo in a process of its own, its temporary files in a folder that is known here."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        environment = {n: v for n, v in os.environ.items() if not n.startswith("HSNN_")} | {
            "TMPDIR": str(folder),
            "COLUMNS": "200",
            "PYTHONPATH": str(ROOT),
        }
        self.out = folder.with_suffix(".out")
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hsnn", "demo", *arguments], stdout=out, stderr=out, env=environment, cwd=folder
            )

    @property
    def text(self) -> str:
        return self.out.read_text()

    def stage(self) -> Path | None:
        return next(self.folder.glob("hsnn-demo-*"), None)

    def until(self, condition: Callable[[], object], seconds: float = START_DEADLINE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def produced(self) -> int:
        """Engagements that the producer says it has sent."""
        stage = self.stage()
        file = None if stage is None else stage / "produced.json"
        return json.loads(file.read_text())["engagements"] if file is not None and file.exists() else 0

    def learning(self) -> bool:
        stage = self.stage()
        return stage is not None and (stage / "produced.json").exists()

    def roles(self) -> list[int]:
        """Processes whose command line names the folder."""
        return [pid for pid, line in commands() if str(self.folder) in line]

    def role(self, command: str) -> int:
        """Process of a role, waited for; the shell around it is another one."""
        self.until(lambda: self._find(command))
        found = self._find(command)
        assert found is not None
        return found

    def _find(self, command: str) -> int | None:
        ours = ((pid, line) for pid, line in commands() if str(self.folder) in line and not line.startswith("/bin/sh"))
        return next((pid for pid, line in ours if f"-m hsnn {command} " in line), None)

    def left(self) -> list[str]:
        return [path.name for path in self.folder.iterdir() if path.name.startswith("hsnn-")]


def commands() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(entry.parent.name), entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


EVENTS = 12_000
"""Enough for queries, probes and expiries after the server is ready."""

SEEDED = 2000
"""Events after which the index has nodes, and a version is built; the producer is never further ahead than this."""

HOLD_SECONDS = 45.0
"""Longest hold of the stream: after a minute without progress a demo ends."""


def hold_until_ready(producer: int, said: str) -> None:
    """Hold the stream until the server is ready: on a busy machine, all of it is over before that."""
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found is not None
    os.kill(producer, signal.SIGSTOP)
    try:
        eventually(lambda: ready(found[0]), HOLD_SECONDS)
    finally:
        os.kill(producer, signal.SIGCONT)


def nobody(run: Run, seconds: float = DEADLINE) -> bool:
    return eventually(lambda: not run.roles(), seconds)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "run"
    found.mkdir()
    return found


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for run in started:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
        assert nobody(run)


def test_events_flow_items_come_and_go_and_everything_is_accounted_for(
    folder: Path, films: Callable[[int], Path], runs: list[Run]
) -> None:
    figures = folder.parent / "figures.json"
    run = Run(
        folder,
        "--data",
        f"ml-100k:{films(EVENTS + 500)}",
        "--events",
        str(EVENTS),
        "--json",
        str(figures),
        "--keep",
        "--set",
        "trainer.expire_after_idle=12h",
        "--set",
        "trainer.catalogue.mass_expiry_share=1",  # a batch of this stream is more than eight hours
        "--set",
        "trainer.prequential_share=0.2",
        "--set",
        "serving.engine=false",  # else the first server of a clone compiles kernels for minutes, and follows nothing
        "--set",
        "trainer.prequential_deadline=60s",  # late answers would not be measured, and the server may be starved
        "--set",
        "trainer.index.seed_after=1024",
        "--set",
        "trainer.model.nodes=16",
    )
    runs.append(run)
    run.until(lambda: "The console, while it runs: http://127.0.0.1:" in run.text, 2 * START_DEADLINE)
    run.until(lambda: run.produced() >= SEEDED)
    hold_until_ready(run.role("produce"), run.text)
    run.until(lambda: "curl -s" in run.text, 2 * START_DEADLINE)
    found = json.loads(figures.read_text())
    assert found["events"] == {"produced": EVENTS, "trained": EVENTS, "dead_lettered": 0, "dropped": 0, "pending": 0}
    assert found["in_log"] == EVENTS
    assert found["expired_returned"] == 0
    assert found["queries"] > 100
    assert found["answers_checked"] >= 2 * found["queries"]
    assert 0 < found["recall_at_20"]["served"] <= found["recall_at_50"]["served"] <= 1
    assert found["index"]["new"] > 50
    assert found["index"]["expired"] > 50
    assert found["index"]["nodes"] == 16
    assert found["version"] >= 2
    assert found["probes"]["answered"] > 0
    assert found["replay_speed"] == pytest.approx((EVENTS - 1) * 60 / found["seconds"], rel=0.01)
    assert f"{EVENTS:,} produced = {EVENTS:,} trained + 0 dead-lettered + 0 dropped + 0 pending" in run.text
    assert len(re.findall(r"1\. Film \d+ \(1990\)", run.text)) == 3
    command = next(line for line in run.text.splitlines() if line.startswith("curl -s"))
    said = subprocess.check_output(["/bin/sh", "-c", command], text=True, timeout=DEADLINE)
    assert len(json.loads(said)["items"]) == 5
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(DEADLINE) == 0, run.text
    assert nobody(run)
    assert run.left() == []


def test_ctrl_c_ends_every_process(folder: Path, films: Callable[[int], Path], runs: list[Run]) -> None:
    run = Run(folder, "--data", f"ml-100k:{films(20_000)}")
    runs.append(run)
    run.until(run.learning)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(DEADLINE) == 130, run.text
    assert "stopped; nothing is left running" in run.text
    assert "Traceback" not in run.text
    assert not run.roles()
    assert run.left() == []


def test_a_second_ctrl_c_ends_everything_at_once(folder: Path, films: Callable[[int], Path], runs: list[Run]) -> None:
    run = Run(folder, "--data", f"ml-100k:{films(20_000)}")
    runs.append(run)
    scheduler = run.role("schedule")
    os.kill(scheduler, signal.SIGSTOP)  # it would not end by asking
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    again = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(DEADLINE) == 130, run.text
    assert time.monotonic() - again < 8, "before the ten seconds that ending in order takes"
    assert nobody(run)
    assert run.left() == []


def test_a_role_that_dies_is_told_and_its_logs_are_kept(
    folder: Path, films: Callable[[int], Path], runs: list[Run]
) -> None:
    run = Run(folder, "--data", f"ml-100k:{films(2000)}")
    runs.append(run)
    os.kill(run.role("train"), signal.SIGKILL)
    run.until(lambda: "trainer ended by itself" in run.text)
    assert run.process.wait(DEADLINE) == 1
    assert "trainer ended by itself by signal 9" in run.text
    assert "everything it wrote is kept in" in run.text
    assert "Traceback" not in run.text
    assert nobody(run)
    (kept,) = run.folder.glob("hsnn-demo-*")
    assert (kept / "trainer.log").exists()
    assert run.left() == [kept.name], "the embedded servers' folders are gone"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "ml-100q"], "did you mean 'ml-100k'"),
        (["--json", "nowhere/figures.json"], "there is no folder"),
        (["--set", "trainer.sed=1"], "did you mean trainer.seed"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(folder: Path, arguments: list[str], said: str) -> None:
    run = Run(folder, *arguments)
    assert run.process.wait(DEADLINE) == 2, run.text
    assert said in " ".join(run.text.split())
    assert "Traceback" not in run.text
    assert run.left() == []
