"""A master of the cluster that is killed is replaced, and comes back as a replica."""

from __future__ import annotations

import pytest

from benchmarks.chaos.clocks import Clock
from benchmarks.chaos.cluster import PORTS, ClusterBackend
from hsnn.demo.settings import free_ports
from tests.waiting import DEADLINE, wait_until


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_master_is_replaced(tmp_path):
    acl = tmp_path / "users.acl"
    acl.write_text("user default on nopass ~* &* +@all\n")
    cluster = ClusterBackend(free_ports(PORTS), tmp_path, acl, Clock(tmp_path / "clock", None))
    try:
        cluster.start()
        cluster.kill()
        wait_until(lambda: not cluster.is_whole())
        cluster.revive()
        wait_until(cluster.is_whole, 2 * DEADLINE)
    finally:
        cluster.stop()
