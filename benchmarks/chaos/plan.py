"""The order of the disruptions: from one seed, all variants equally often."""

from __future__ import annotations

from random import Random
from types import ModuleType

from benchmarks.chaos.disruptions import clock, crash, disk, partitions, poison, refusal, second
from benchmarks.chaos.disruptions.base import Scene, Variant

# variants of a module for each of which it has one turn in a round
_SHARE = 6
MODULES: tuple[ModuleType, ...] = (clock, crash, second, partitions, refusal, disk, poison)


def variants(scene: Scene) -> list[list[Variant]]:
    """List what can be done to this loop, by module."""
    return [found for module in MODULES if (found := module.variants(scene))]


def plan(groups: list[list[Variant]], count: int, seed: int) -> list[Variant]:
    """Draw `count` disruptions in rounds: of each module a share of its variants, all of them before one comes again.

    So a short run has disruptions of every module, and none has only clocks, of which there are most. Partitions stay,
    so only some are added; there are fewer than `count` disruptions if nothing else is left to do.

    Examples
    --------
    >>> kinds = [[("a", None), ("b", None)], [("c", None)]]
    >>> [kind for kind, _ in plan(kinds, 4, seed=1)]
    ['a', 'c', 'c', 'b']
    """
    random = Random(seed)
    decks: list[list[Variant]] = [[] for _ in groups]
    drawn: list[Variant] = []
    left = {partitions.KIND: partitions.MOST_ADDED}
    turns = [number for number, group in enumerate(groups) for _ in range(-(-len(group) // _SHARE))]
    while len(drawn) < count:
        before = len(drawn)
        for number in random.sample(turns, len(turns)):
            if not decks[number]:
                decks[number] = random.sample(groups[number], len(groups[number]))
            kind, make = decks[number].pop()
            if left.get(kind, 1):
                drawn.append((kind, make))
            if left.get(kind):
                left[kind] -= 1
        if len(drawn) == before:
            break
    return drawn[:count]
