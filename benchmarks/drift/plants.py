"""Changes that are planted: into the observations of a recorded stream, or into the stream before it is learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hsnn.monitoring.observation import Observation
from hsnn.trainer.training.learner import Learner

# Share of the events that a change is about: a producer, an app, a campaign.
_SHARE = 0.3

# Milliseconds that the clock of a producer is ahead.
_CLOCK = 3_600_000

DAY = 86_400_000
"""Milliseconds of a day."""

Plant = Callable[[Observation, np.random.Generator], Observation]


def _chosen(count: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return rng.random(count) < _SHARE


def broken_feature(seen: Observation, rng: np.random.Generator) -> Observation:
    """Lose the context of a share of the events, and their values."""
    lost = _chosen(len(seen.event_ts), rng)
    contexts = [None if gone else context for gone, context in zip(lost.tolist(), seen.contexts, strict=True)]
    return replace(seen, contexts=contexts, values=np.where(lost, np.nan, seen.values).astype(np.float32))


def unit_change(seen: Observation, rng: np.random.Generator) -> Observation:
    """Give the values of a share of the events in hundredths of their unit."""
    other = _chosen(len(seen.values), rng)
    return replace(seen, values=np.where(other, 100 * seen.values, seen.values).astype(np.float32))


def swapped_columns(seen: Observation, rng: np.random.Generator) -> Observation:
    """Exchange action and value of a share of the events, as a wrong map of columns does: `4.0` clicked."""
    other = _chosen(len(seen.actions), rng)
    actions = [
        f"{value:g}" if flag else action
        for flag, action, value in zip(other.tolist(), seen.actions, seen.values.tolist(), strict=True)
    ]
    return replace(seen, actions=actions, values=np.where(other, np.nan, seen.values).astype(np.float32))


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
    "unit change": (unit_change, frozenset({"users_value"})),
    "swapped columns": (swapped_columns, frozenset({"users_action_mix", "users_value_missing"})),
    "label rate": (label_rate, frozenset({"users_action_mix"})),
    "popularity burst": (popularity_burst, frozenset({"items_concentration", "items_rise"})),
    "bot flood": (bot_flood, frozenset({"users_busiest_share", "users_events_each", "users_sustained_share"})),
    "clock off": (clock_off, frozenset({"clocks_ahead_share", "clocks_spread"})),
    "duplicate producer": (duplicate_producer, frozenset({"pipeline_duplicates"})),
}
"""Changes of observations, and the signals that are meant to find each."""


OF_VALUES = frozenset({"unit change", "swapped columns"})
"""Changes that need events with values."""


class Rhythm:
    """Give a stream the rhythm of a day: by night stream time runs faster, and evenings have an app of their own.

    Parameters
    ----------
    days
        Recorded days that become one: ratings of a year have no days in windows of a thousand events. Whole ones, so
        that a rhythm which the stream has already stays within the day.
    """

    def __init__(self, days: int) -> None:
        self._days = days

    def __call__(self, seen: Observation, rng: np.random.Generator) -> Observation:
        """Change times, contexts and actions of a batch."""
        delay = seen.sent_at - seen.event_ts
        event_ts = self._warped(seen.event_ts)
        evening = 0.5 + 0.5 * np.sin(2 * np.pi * event_ts / DAY)
        by_app = (rng.random(len(event_ts)) < 0.4 * evening).tolist()
        last = int(event_ts.max())
        return replace(
            seen,
            ts=last,
            watermark=last,
            event_ts=event_ts,
            sent_at=event_ts + delay,
            actions=["listen" if flag else action for flag, action in zip(by_app, seen.actions, strict=True)],
        )

    def _warped(self, ts: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Slow time down and speed it up over the day: between 1 / 1.7 and 1 / 0.3 times as many events per second."""
        scaled = ts.astype(np.float64) / self._days
        return (scaled + 0.7 * DAY / (2 * np.pi) * np.sin(2 * np.pi * scaled / DAY)).astype(np.int64)


class StaleIndex:
    """Leave every item in its node, and new ones without any, from `start` events on: nothing is assigned any more."""

    def __init__(self, start: int) -> None:
        self._start = start

    def __call__(self, before: int, learner: Learner) -> None:
        """Stop the assignment."""
        if before >= self._start:
            learner.leaves.assign_rows = _assign_nothing  # type: ignore[method-assign]


def _assign_nothing(rows: object, nodes: object) -> None:
    """Do nothing."""


class NewCatalogue:
    """Replace all items by others from `start` on: an import that gave every item a new id.

    Examples
    --------
    >>> NewCatalogue(start=2)(0, ["a"]), NewCatalogue(start=2)(2, ["a"])
    (['a'], ['new a'])
    """

    def __init__(self, start: int) -> None:
        self._start = start

    def __call__(self, before: int, items: Sequence[str]) -> Sequence[str]:
        """Replace the items of a batch."""
        return items if before < self._start else [f"new {item}" for item in items]


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
