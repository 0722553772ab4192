"""RoleProcesses: a death is noticed at once and told in words; the end leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hsnn.demo.processes import RoleProcessError, RoleProcesses
from tests.paths import ROOT
from tests.waiting import DEADLINE, eventually, wait_until

SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


def python(roles: RoleProcesses, name: str, code: str, *, ends: bool = False) -> None:
    roles.start(name, [code], program=["-c"], ends=ends)


def pid(roles: RoleProcesses, name: str) -> int:
    wait_until(roles.log(name).read_text)
    return int(roles.log(name).read_text())


def gone(process: int) -> bool:
    return eventually(lambda: not Path(f"/proc/{process}").exists())


def test_a_role_that_dies_is_noticed_at_once_with_its_last_words(tmp_path: Path) -> None:
    roles = RoleProcesses(tmp_path)
    python(roles, "healthy", SLEEP)
    python(roles, "sick", "print('no luck today'); raise SystemExit(3)")
    with pytest.raises(RoleProcessError, match=r"(?s)sick ended by itself with exit status 3 .*no luck today"):
        roles.wait_until(lambda: False, "nothing", DEADLINE)
    process = pid(roles, "healthy")
    os.kill(process, signal.SIGKILL)
    del roles._running["sick"]
    with pytest.raises(RoleProcessError, match="healthy ended by itself by signal 9"):
        roles.wait_until(lambda: False, "nothing", DEADLINE)
    roles.end()


def test_a_role_that_ends_as_it_may_is_watched_no_more_but_its_failure_counts(tmp_path: Path) -> None:
    roles = RoleProcesses(tmp_path)
    python(roles, "worker", "pass", ends=True)
    roles.wait_until(lambda: not roles.names, "the worker", DEADLINE)
    python(roles, "worker", "raise SystemExit(2)", ends=True)
    with pytest.raises(RoleProcessError, match="worker ended by itself with exit status 2"):
        roles.wait_until(lambda: False, "nothing", DEADLINE)


def test_waiting_ends_in_words_or_when_told(tmp_path: Path) -> None:
    roles = RoleProcesses(tmp_path)
    with pytest.raises(RoleProcessError, match=r"waited 0\.1 s for the impossible"):
        roles.wait_until(lambda: False, "the impossible", 0.1)
    roles.wait_until(lambda: False, "the impossible", 60, stop=lambda: True)


@pytest.mark.slow
def test_the_end_asks_all_at_once_and_insists(tmp_path: Path) -> None:
    roles = RoleProcesses(tmp_path)
    python(roles, "polite", SLEEP)
    python(roles, "stubborn", STUBBORN)
    processes = [pid(roles, name) for name in roles.names]
    roles.end(timeout=0.5)
    assert all(gone(process) for process in processes)
    roles.end()


@pytest.mark.slow
def test_kill_does_not_wait(tmp_path: Path) -> None:
    roles = RoleProcesses(tmp_path)
    python(roles, "stubborn", STUBBORN)
    process = pid(roles, "stubborn")
    started = time.monotonic()
    roles.kill()
    assert time.monotonic() - started < 10, "what the end gives a process by itself"
    assert gone(process)
    roles.end()


def test_the_configuration_comes_from_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSNN_TRAINER__SEED", "7")
    monkeypatch.setenv("HSNN_CONFIG", "elsewhere.toml")
    monkeypatch.setenv("HSNN_CACHE", "kept")
    roles = RoleProcesses(tmp_path, {"OMP_NUM_THREADS": "1"})
    code = "import os; print(sorted(n for n in os.environ if n.startswith(('HSNN_', 'OMP_'))))"
    python(roles, "env", code, ends=True)
    roles.wait_until(lambda: not roles.names, "the end", DEADLINE)
    seen = roles.log("env").read_text()
    assert "HSNN_CACHE" in seen
    assert "OMP_NUM_THREADS" in seen
    assert "HSNN_TRAINER__SEED" not in seen
    assert "HSNN_CONFIG" not in seen


@pytest.mark.slow
def test_roles_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from hsnn.demo.processes import RoleProcesses\n"
        f"roles = RoleProcesses(Path(sys.argv[1])); roles.start('child', [{SLEEP!r}], program=['-c'])\n"
        "time.sleep(60)"
    )
    root = ROOT
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root)
    log = tmp_path / "child.log"
    wait_until(lambda: log.exists() and log.read_text())
    child = int(log.read_text())
    parent.kill()
    parent.wait(DEADLINE)
    assert gone(child)
