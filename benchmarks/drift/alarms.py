"""Alarms that a monitor raises on recorded observations, and what they say about a planted change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.drift.plants import Plant
from hsnn.monitoring.config import DriftConfig
from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.monitor import SignalMonitor


class Raised(NamedTuple):
    """An alarm: the events before it, its time in epoch ms, and its kind."""

    events: int
    ts: int
    kind: str


class Start(NamedTuple):
    """Where a change begins: the events before it, and the time of the last of them in epoch ms."""

    events: int
    ts: int


def watch(
    stream: Iterable[Observation], monitor: SignalMonitor, plant: Plant | None = None, *, seed: int = 0, before: int = 0
) -> list[Raised]:
    """Have a monitor that has seen `before` events see a stream, with a change of all observations."""
    rng, events, alarms = np.random.default_rng(seed), before, list[Raised]()
    for seen in stream:
        changed = seen if plant is None else plant(seen, rng)
        events += len(seen.items)
        alarms += [Raised(events, alarm.ts, alarm.kind) for alarm in monitor.update(changed)]
    return alarms


def restored(state: bytes) -> SignalMonitor:
    """Restore a monitor: what comes before a change is watched once for all changes."""
    monitor = SignalMonitor(DriftConfig())
    monitor.load_state_dict(msgspec.msgpack.decode(state))
    return monitor


def found(alarms: Iterable[Raised], quiet: Iterable[Raised], meant: frozenset[str], start: Start) -> dict[str, Any]:
    """Return when a change was found, by the first alarm that was meant, and all kinds that it raised.

    Parameters
    ----------
    quiet
        Alarms of the twin without the change: they say nothing about it.

    Returns
    -------
    dict
        `delay` in events and `hours` of stream time, both None if the change is missed; `kinds`, the first one first.

    Examples
    --------
    >>> alarms = [Raised(900, 9, "old"), Raised(1500, 3_600_010, "other"), Raised(2000, 7_200_010, "meant")]
    >>> found(alarms, [], frozenset({"meant"}), Start(events=1000, ts=10))
    {'delay': 1000, 'hours': 2.0, 'kinds': ['other', 'meant']}
    """
    known = set(quiet)
    after = [alarm for alarm in alarms if alarm.events > start.events and alarm not in known]
    first = next((alarm for alarm in after if alarm.kind in meant), None)
    return {
        "delay": None if first is None else first.events - start.events,
        "hours": None if first is None else round((first.ts - start.ts) / 3_600_000, 2),
        "kinds": list(dict.fromkeys(alarm.kind for alarm in after)),
    }
