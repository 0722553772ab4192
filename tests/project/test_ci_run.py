"""`.ci/run`: a few failed tests are run once more, alone; what fails again, or in numbers, is red."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

# Fails like pytest under make: the first run notes the tests of FAILED and ends with STATUS, the second one fails if
# AGAIN is set.
_MAKE = """#!/bin/sh
echo "make $*"
[ -n "$2" ] && exit ${AGAIN:-0}
[ -z "$FAILED" ] && exit 0
mkdir -p .pytest_cache/v/cache
[ "$FAILED" = broken ] || echo "$FAILED" > .pytest_cache/v/cache/lastfailed
echo "make: *** [Makefile:32: test] Error ${STATUS:-1}" >&2
exit 2
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the script, and all the programs that it finds."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "cp", "dirname", "grep", "mkdir", "mktemp", "rm", "sh", "tee"):
        (programs / name).symlink_to(shutil.which(name) or name)
    (programs / "python3").symlink_to(sys.executable)
    (programs / "make").write_text(_MAKE)
    (programs / "make").chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    return tmp_path


def run(clone: Path, failed: list[str] | str = "", again: int = 0, status: int = 1) -> subprocess.CompletedProcess[str]:
    text = json.dumps(dict.fromkeys(failed, True)) if isinstance(failed, list) else failed
    environment = {"PATH": str(clone / "bin"), "FAILED": text, "AGAIN": str(again), "STATUS": str(status)}
    script = [str(clone / "bin/bash"), str(clone / ".ci/run")]
    return subprocess.run(script, env=os.environ | environment, capture_output=True, text=True)


def test_green_is_green_at_once(clone):
    found = run(clone)
    assert found.returncode == 0
    assert found.stdout.count("make test") == 1


@pytest.mark.slow
def test_a_failure_that_does_not_come_back_is_named(clone):
    found = run(clone, ["tests/test_a.py::test_b", "tests/test_c.py::test_d"])
    assert found.returncode == 0
    assert "make test ARGS=--last-failed" in found.stdout
    assert found.stdout.endswith("alone:\ntests/test_a.py::test_b\ntests/test_c.py::test_d\n")


def test_a_failure_that_comes_back_is_red(clone):
    found = run(clone, ["tests/test_a.py::test_b"], again=2)
    assert found.returncode != 0
    assert "UNSTABLE" not in found.stdout


@pytest.mark.parametrize("failed", [["a", "b", "c", "d"], "broken"])
def test_many_failures_and_runs_that_broke_off_are_not_run_again(clone, failed):
    found = run(clone, failed)
    assert found.returncode != 0
    assert "--last-failed" not in found.stdout


def test_a_run_that_broke_off_after_one_failure_is_red(clone):
    found = run(clone, ["tests/test_a.py::test_b"], status=3)
    assert found.returncode != 0
    assert "--last-failed" not in found.stdout


def test_what_failed_in_an_earlier_run_is_no_excuse(clone):
    assert run(clone, ["tests/test_a.py::test_b"], again=2).returncode != 0
    found = run(clone, "broken")
    assert found.returncode != 0
    assert "--last-failed" not in found.stdout
