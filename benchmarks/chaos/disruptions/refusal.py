"""A Redis that refuses: it is full, or a right was taken from the roles' user."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import SCHEDULERS, SERVERS, TRAINER, USER
from benchmarks.chaos.watch import Sign, grows, is_not_ready

# rights that are taken, and what of the loop needs them
_RIGHTS = ("-@write", "-@scripting", "-@read", "-@all", "-xadd")
_JOBS = ("settle", "refresh", "sweep")


class FullRedis(Disruption):
    """``maxmemory`` below what is used, with ``noeviction``: every write is refused."""

    def signs(self) -> Sequence[Sign]:
        return _signs()

    def strike(self) -> None:
        client = self.scene.loop.admin()
        client.config_set("maxmemory", "1mb")
        client.close()

    def end(self) -> None:
        client = self.scene.loop.admin()
        client.config_set("maxmemory", "0")
        client.close()


class LostRight(Disruption):
    """An operator takes a right from the roles' user, and gives it back."""

    def __init__(self, right: str, kind: str, scene: Scene, random: Random) -> None:
        super().__init__(kind, scene, random)
        self._right = right

    def signs(self) -> Sequence[Sign]:
        return _signs()

    def strike(self) -> None:
        self._change(self._right)

    def end(self) -> None:
        self._change("+@all")

    def _change(self, right: str) -> None:
        client = self.scene.loop.admin()
        client.execute_command("ACL", "SETUSER", USER, right)
        client.close()


def variants(scene: Scene) -> list[Variant]:
    """List both, with every right; of a cluster none."""
    if scene.loop.cluster:
        return []
    found: list[Variant] = [("Redis is full", partial(FullRedis, "Redis is full"))]
    for right in _RIGHTS:
        kind = f"Redis: the right {right[1:]} is taken"
        found.append((kind, partial(partial(LostRight, right), kind)))
    return found


def _signs() -> tuple[Sign, ...]:
    failed = [
        grows(name, f'hsnn_job_runs_total{{job="{job}",outcome="failed"}}') for name in SCHEDULERS for job in _JOBS
    ]
    others = [is_not_ready(name) for name in (TRAINER, *SCHEDULERS, *SERVERS)]
    return (grows(TRAINER, "hsnn_redis_refused_total"), *others, *failed)
