"""Embedded servers made one cluster; with replicas: `tests/benchmarks/chaos/test_cluster.py`."""

from __future__ import annotations

import pytest

from hsnn.embedded import EmbeddedRedis
from hsnn.embedded.cluster import cluster_info, follows, form_cluster, node_options
from hsnn.embedded.process import EmbeddedError, free_port
from hsnn.streaming.redis.client import connect


def node() -> EmbeddedRedis:
    return EmbeddedRedis(options=node_options(free_port()))


@pytest.mark.slow
def test_every_key_has_a_node_and_every_node_answers_for_some() -> None:
    with node() as one, node() as other:
        form_cluster([one, other])
        with connect(f"redis+cluster://127.0.0.1:{other.port}") as client:
            for number in range(20):
                client.set(f"key-{number}", number)
            assert [client.get(f"key-{number}") for number in range(20)] == [b"%d" % number for number in range(20)]
        sizes = []
        for server in (one, other):
            with connect(server.url) as client:
                assert cluster_info(client)["cluster_slots_assigned"] == "16384"
                assert not follows(client)
                sizes.append(client.dbsize())
        assert sum(sizes) == 20
        assert min(sizes) > 0


def test_nodes_that_do_not_meet_are_an_error() -> None:
    with node() as one, node() as other, pytest.raises(EmbeddedError, match="did not meet within 0 s"):
        form_cluster([one, other], timeout=0.0)
