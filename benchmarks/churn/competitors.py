"""Puts one competitor through the protocol.

It is no part of ``__main__``, of which a forked process finds nothing when the package runs as a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.churn.peers import PEERS
from benchmarks.churn.planted_data import PlantedData
from benchmarks.churn.protocol import run
from benchmarks.churn.system import HsnnCompetitor
from hsnn.trainer.threads import use_threads

OWN = ("hsnn", "refitted")


def measure(name: str, items: int, users: int, churn: Sequence[float], seed: int) -> dict[str, Any]:
    """Return the figures of a competitor of `OWN` or `PEERS`, measured in this process."""
    use_threads(1)
    world = PlantedData(items, users, seed)
    first = world.new_items(items, 0.0)
    competitor = HsnnCompetitor(world, refit=name == "refitted") if name in OWN else PEERS[name](world)
    return run(competitor, world, first, churn)
