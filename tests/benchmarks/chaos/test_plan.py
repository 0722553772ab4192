"""Disruptions are drawn from one seed, every kind equally often."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from benchmarks.chaos.disruptions.partitions import KIND, MOST_ADDED
from benchmarks.chaos.loop import LOG, REDIS, ROLES
from benchmarks.chaos.plan import _SHARE, plan, variants


def scene(*, clocks: bool = True, disk: bool = True, cluster: bool = False) -> SimpleNamespace:
    targets = dict.fromkeys((*ROLES, REDIS, LOG))
    loop = SimpleNamespace(targets=targets, clocks_can_be_set=clocks, disk="/mnt" if disk else None, cluster=cluster)
    return SimpleNamespace(loop=loop, traffic=None)


def names(groups: list, count: int, seed: int) -> list[str]:
    return [kind for kind, _ in plan(groups, count, seed)]


def test_one_seed_is_one_order():
    groups = variants(scene())
    assert names(groups, 60, 1) == names(groups, 60, 1) != names(groups, 60, 2)


def test_a_short_run_has_disruptions_of_every_module_and_a_long_one_every_variant():
    groups = variants(scene())
    kinds = [{kind for kind, _ in group} for group in groups]
    rounds = sum(-(-len(group) // _SHARE) for group in groups)
    short = set(names(groups, rounds, 3))
    assert all(short & kind for kind in kinds)
    assert set(names(groups, _SHARE * rounds, 3)) == set().union(*kinds)


def test_variants_of_a_module_come_equally_often():
    groups = [[("a", None), ("b", None), ("c", None)], [("d", None)]]
    assert Counter(names(groups, 18, 5)) == {"a": 3, "b": 3, "c": 3, "d": 9}


def test_partitions_are_added_until_there_are_enough():
    groups = variants(scene())
    drawn = names(groups, 500, 1)
    assert len(drawn) == 500
    assert drawn.count(KIND) == MOST_ADDED
    alone = [[one for one in group if one[0] == KIND] for group in groups]
    assert names([group for group in alone if group], 500, 1) == [KIND] * MOST_ADDED


def test_what_this_machine_cannot_do_is_left_out():
    found = [kind for group in variants(scene(clocks=False, disk=False)) for kind, _ in group]
    assert not any(kind.startswith("disk") for kind in found)
    assert {kind for kind in found if kind.startswith("clock")} == {
        f"clock of a producer {shift}" for shift in ("+1 h", "-1 h", "+2 days", "-2 days")
    }


def test_a_cluster_refuses_nothing_and_its_masters_are_struck():
    found = {kind for group in variants(scene(cluster=True)) for kind, _ in group}
    assert {"redis is killed", "redis hangs"} <= found
    assert not any(kind.startswith("Redis") for kind in found)


def test_every_process_is_struck():
    found = {kind for group in variants(scene()) for kind, _ in group}
    for process in ("trainer", "scheduler", "server", "redis", "log"):
        assert {f"{process} is killed", f"{process} hangs", f"clock of {process} -2 days"} <= found
