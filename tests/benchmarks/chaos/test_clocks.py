"""A process whose wall clock is set while it runs, and whose monotonic one is not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.chaos.clocks import TWO_DAYS, Clock, compile_library

PROGRAM = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"


@pytest.mark.slow
def test_the_wall_clock_is_set_and_nothing_else(tmp_path):
    if (library := compile_library(tmp_path)) is None:
        pytest.skip("no C compiler here")
    clock = Clock(tmp_path / "clock", library)
    command = [sys.executable, "-c", PROGRAM]
    seen = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **clock.environment}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for shift in (0, TWO_DAYS, -TWO_DAYS, 0):
            clock.set(shift)
            process.stdin.write("\n")
            process.stdin.flush()
            wall, monotonic = map(float, process.stdout.readline().split())
            seen.append((wall - monotonic, shift))
        process.stdin.close()
    first = seen[0][0]
    assert [round((ahead - first - shift) / 3600) for ahead, shift in seen] == [0, 0, 0, 0]


def test_without_a_library_nothing_is_loaded(tmp_path):
    assert Clock(tmp_path / "clock", None).environment == {}
