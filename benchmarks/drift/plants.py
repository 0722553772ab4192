"""Changes that are planted: into the observations of a recorded stream, or into the stream before it is learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hsnn.monitoring.observation import Observation

# Share of the events that a change is about: a producer, an app, a campaign.
_SHARE = 0.3

# Milliseconds that the clock of a producer is ahead.
_CLOCK = 3_600_000

Plant = Callable[[Observation, np.random.Generator], Observation]


def _chosen(count: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return rng.random(count) < _SHARE


def broken_feature(seen: Observation, rng: np.random.Generator) -> Observation:
    """Lose the context of a share of the events, and their values."""
    lost = _chosen(len(seen.event_ts), rng)
    contexts = [None if gone else context for gone, context in zip(lost.tolist(), seen.contexts, strict=True)]
    return replace(seen, contexts=contexts, values=np.where(lost, np.nan, seen.values).astype(np.float32))


def label_rate(seen: Observation, rng: np.random.Generator) -> Observation:
    """Give a share of the events another action."""
    other = _chosen(len(seen.actions), rng).tolist()
    return replace(
        seen, actions=["planted" if flag else action for flag, action in zip(other, seen.actions, strict=True)]
    )


def popularity_burst(seen: Observation, rng: np.random.Generator) -> Observation:
    """Turn a share of the events to one item."""
    return replace(seen, items=np.where(_chosen(len(seen.items), rng), 0, seen.items))


def bot_flood(seen: Observation, rng: np.random.Generator) -> Observation:
    """Have three users make a share of the events."""
    bots = rng.integers(3, size=len(seen.users))
    return replace(seen, users=np.where(_chosen(len(seen.users), rng), bots, seen.users))


def clock_off(seen: Observation, rng: np.random.Generator) -> Observation:
    """Set the clock that stamps a share of the events an hour ahead of the one that sends them."""
    return replace(seen, sent_at=seen.sent_at - np.where(_chosen(len(seen.sent_at), rng), _CLOCK, 0))


def duplicate_producer(seen: Observation, rng: np.random.Generator) -> Observation:
    """Have a share of the events come twice: the consumer drops them."""
    twice = int(_chosen(len(seen.event_ts), rng).sum())
    return replace(seen, dropped={**seen.dropped, "duplicate": seen.dropped.get("duplicate", 0) + twice})


PLANTS: dict[str, tuple[Plant, frozenset[str]]] = {
    "broken feature": (broken_feature, frozenset({"users_context_missing", "users_value_missing", "users_value"})),
    "label rate": (label_rate, frozenset({"users_action_mix"})),
    "popularity burst": (popularity_burst, frozenset({"items_concentration"})),
    "bot flood": (bot_flood, frozenset({"users_busiest_share", "users_events_each"})),
    "clock off": (clock_off, frozenset({"clocks_ahead_share", "clocks_spread"})),
    "duplicate producer": (duplicate_producer, frozenset({"pipeline_duplicates"})),
}
"""Changes of observations, and the signals that are meant to find each."""


class InterestShift:
    """Exchange the items of the stream for one another from `start` on; slowly, over `over` events.

    Examples
    --------
    >>> InterestShift(["a", "b", "c"], start=0, over=0, seed=1)(5, ["a", "a"]) != ["a", "a"]
    True
    """

    def __init__(self, items: Sequence[str], start: int, over: int, seed: int) -> None:
        names = sorted(set(items))
        self._rng, self._start, self._over = np.random.default_rng([seed, 11]), start, over
        order = self._rng.permutation(len(names)).tolist()
        ring = {order[index]: order[(index + 1) % len(order)] for index in range(len(order))}  # nothing stays itself
        self._other = {name: names[ring[index]] for index, name in enumerate(names)}

    def __call__(self, before: int, items: Sequence[str]) -> Sequence[str]:
        """Exchange the items of a batch."""
        if before < self._start:
            return items
        share = 1.0 if not self._over else min((before - self._start) / self._over, 1.0)
        shifted = (self._rng.random(len(items)) < share).tolist()
        return [self._other[item] if flag else item for flag, item in zip(shifted, items, strict=True)]
