"""Two hosts, of which one is lost: nothing is lost with it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.parts import hosts
from benchmarks.tables.parts import hosts as table


def test_the_table_says_how_long_each_kind_of_loss_took():
    losses = [{"loss": "worker killed", "host": "a", "trained": 100, "seconds": seconds} for seconds in (4.0, 8.0, 6.0)]
    found = {"events": 9, "trained": 9, "dead_lettered": 0, "same_checkpoint": True, "agents_started": 2}
    lines = table(found | {"losses": losses}).splitlines()
    assert lines[0].startswith("9 of 9 events trained, 0 dead letters; the last checkpoint is bit for bit that")
    assert lines[-1] == "| worker killed | 3 | 6 | 8 |"
    assert "NOT that" in table(found | {"same_checkpoint": False, "losses": losses})


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2")
def test_a_lost_host_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts.main(["--losses", "1", "--events", "3000", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["trained"], found["same_checkpoint"], len(found["losses"])) == (3000, True, 1)
    assert "the checkpoint is that of the undisturbed run" in capsys.readouterr().out
