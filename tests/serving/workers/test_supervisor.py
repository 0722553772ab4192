from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.paths import ROOT
from tests.waiting import DEADLINE, wait_until

PROGRAM = """
import logging, os, signal, sys, time
from pathlib import Path
from hsnn.monitoring.errors import user_message
from hsnn.serving.errors import ServerError
from hsnn.serving.workers.board import Board
from hsnn.serving.workers.supervisor import AT_ONCE, Supervisor

logging.basicConfig(format="%(message)s")
folder, said = Path(sys.argv[1]), []

def work(number, on_listening):
    signal.signal(signal.SIGTERM, lambda *_: said.append("end"))
    signal.signal(AT_ONCE, lambda *_: said.append("at once"))
    {work}

def until_told(number):
    (folder / f"{{number}}-{{os.getpid()}}").touch()
    while not said:
        time.sleep(0.01)

try:
    Supervisor(Board(2)).run(work, lambda: (folder / "listens").touch(), lambda: print("stop"))
except ServerError as error:
    print(error)
print("over")
"""


class Supervised:
    """A supervisor of two workers in a process of its own; `work` is Python."""

    def __init__(self, folder, work: str) -> None:
        self.folder, program = folder, PROGRAM.format(work=work)
        self.popen = subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pids(self, number: int) -> list[int]:
        return [int(file.name.partition("-")[2]) for file in self.folder.glob(f"{number}-*")]

    def end(self, number: int = signal.SIGTERM) -> tuple[str, str]:
        self.popen.send_signal(number)
        return self.result()

    def result(self) -> tuple[str, str]:
        try:
            return self.popen.communicate(timeout=DEADLINE)
        finally:
            self.popen.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_end_in_order(tmp_path, number):
    supervised = Supervised(tmp_path, "on_listening(); until_told(number)")
    wait_until(lambda: supervised.pids(0) and supervised.pids(1))
    assert (tmp_path / "listens").exists()
    assert supervised.end(number) == ("stop\nover\n", "")


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_that_is_said(tmp_path):
    supervised = Supervised(tmp_path, "on_listening(); until_told(number)")
    wait_until(lambda: supervised.pids(0) and supervised.pids(1))
    [first] = supervised.pids(1)
    subprocess.run(["kill", "-KILL", str(first)], check=True)
    wait_until(lambda: len(supervised.pids(1)) == 2)
    _, log = supervised.end()
    assert log == f"worker 1 (process {first}) ended by signal 9\nworker 1 is started again now\n"
    assert len(supervised.pids(0)) == 1


@pytest.mark.slow
def test_one_that_keeps_dying_is_started_later_and_later(tmp_path):
    supervised = Supervised(
        tmp_path, "on_listening(); number or until_told(number); raise ServerError('the disk is full')"
    )
    log = ""
    while "in 2 s" not in log:
        log += supervised.popen.stderr.readline()
    supervised.end()
    assert log.count("ended with status 1: the disk is full") == 3
    assert [line.rpartition("again ")[2] for line in log.splitlines() if "again" in line] == ["now", "in 1 s", "in 2 s"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("raise ServerError('name a PEM file')", "name a PEM file"),
        ("os._exit(7)", "the first worker ended before it listened, with status 7"),
        ("1 / 0", "a worker could not start; its log says why"),
    ],
)
def test_what_keeps_the_first_worker_from_starting_is_said_once(tmp_path, work, said):
    output, log = Supervised(tmp_path, work).result()
    assert output == f"{said}\nover\n"
    assert log.count("Traceback") == ("1 / 0" in work)


@pytest.mark.slow
def test_a_second_signal_ends_at_once_what_does_not_end(tmp_path):
    supervised = Supervised(
        tmp_path, "on_listening(); until_told(number)\n    while 'at once' not in said: time.sleep(0.01)"
    )
    wait_until(lambda: supervised.pids(0) and supervised.pids(1))
    supervised.popen.send_signal(signal.SIGTERM)
    assert supervised.popen.stdout.readline() == "stop\n"
    time.sleep(0.1)
    assert supervised.popen.poll() is None
    assert supervised.end() == ("over\n", "")
