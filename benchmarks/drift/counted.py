"""Changes planted into streams that are counted without a model: quick enough for many seeds of whole data sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from benchmarks.drift.alarms import Start, found, restored, watch
from benchmarks.drift.plants import DAY, OF_VALUES, PLANTS, NewCatalogue, Rhythm
from benchmarks.drift.record import record
from hsnn.monitoring.config import DriftConfig
from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.monitor import SignalMonitor
from hsnn.streaming.datasets import Dataset
from hsnn.streaming.schema.batch import Engagements, gather

# Share of the users that a seed draws: few enough that two seeds differ, enough that the stream stays what it is.
_USERS = 0.8

# Part of the events, from and to, within which a seed draws the start of the changes: the 32 windows that tell what is
# usual are over in the shortest stream, and there is much left to be found in.
_STARTS = (0.6, 0.7)

# Days that the stream with a rhythm lasts, at least where it lasts for so long: it has a yesterday from the second one
# on.
_DAYS = 4

ITEMS = frozenset({"items_unseen_share", "items_concentration", "items_arrivals", "items_age"})
"""Signals that a new catalogue moves."""


def drawn(data: Dataset, seed: int) -> Dataset:
    """Keep the interactions of four users in five, another draw for every seed."""
    log = data.engagements
    users = {user: index for index, user in enumerate(dict.fromkeys(log.user))}
    kept = np.random.default_rng([seed, 3]).random(len(users)) < _USERS
    rows = np.flatnonzero(kept[[users[user] for user in log.user]])
    listed = rows.tolist()
    engagements = Engagements(
        ts=log.ts[rows],
        sent_at=log.sent_at[rows],
        user=gather(log.user, listed),
        item=gather(log.item, listed),
        action=gather(log.action, listed),
        value=log.value[rows],
        context=gather(log.context, listed),
        repeat=log.repeat[rows],
    )
    return replace(data, engagements=engagements, sequence=np.arange(len(rows)), impressions=None, links=None)


def counted(name: str, data: Dataset, events: int, seed: int) -> dict[str, Any]:
    """Plant the changes of observations into a stream that is counted alone.

    The seed draws the users of the stream, where the changes start, and which events they are about.
    """
    sample = drawn(data, seed)
    stream = list(record(sample, events, seed, model=False))
    sizes = np.cumsum([len(seen.items) for seen in stream])
    total, share = int(sizes[-1]), np.random.default_rng([seed, 5]).uniform(*_STARTS)
    middle = 1 + int(np.searchsorted(sizes, share * total))
    first, second = stream[:middle], stream[middle:]
    start = Start(int(sizes[middle - 1]), first[-1].ts)
    monitor = SignalMonitor(DriftConfig())
    quiet = watch(first, monitor)
    state = msgspec.msgpack.encode(monitor.state_dict())
    quiet += watch(second, restored(state), before=start.events)
    plants = {}
    for label, (plant, meant) in PLANTS.items():
        if label not in OF_VALUES or _valued(stream):
            alarms = watch(second, restored(state), plant, seed=seed, before=start.events)
            plants[label] = found(alarms, quiet, meant, start)
    replaced = record(sample, events, seed, model=False, change=NewCatalogue(start.events))
    plants["new catalogue"] = found(watch(replaced, SignalMonitor(DriftConfig())), quiet, ITEMS, start)
    days = (stream[-1].ts - stream[0].ts) // (_DAYS * DAY)
    rhythm = watch(stream, SignalMonitor(DriftConfig()), Rhythm(max(days, 1)), seed=seed)
    return {
        "stream": name,
        "seed": seed,
        "events": total,
        "model": False,
        "start": start.events,
        "false": quiet,
        "false with a rhythm": rhythm,
        "plants": plants,
    }


def _valued(stream: list[Observation]) -> bool:
    return any(np.isfinite(seen.values).any() for seen in stream)
