"""Figures of an imported data set, and the settings that they suggest."""

from __future__ import annotations

import math
from pathlib import Path

from hsnn.monitoring.duration import format_duration
from hsnn.streaming.datasets.imported.report import Advice, Profile
from hsnn.streaming.datasets.imported.sql import ImportDatabase, literal
from hsnn.streaming.datasets.imported.store import EVENTS, ITEMS

# Milliseconds of a pause that ends a session: the convention of web analytics.
_PAUSE_MS = 30 * 60_000

# Milliseconds of a day, by which arrivals are counted.
_DAY_MS = 86_400_000

# Hours without an event that are tried as `expire_after_idle`, shortest first.
_IDLE_HOURS = (6, 12, 24, 48, 72, 168, 336, 720, 1440, 2160, 4320, 8760)

# Share of the events that may fall on an item which would have expired before. As measured on news (0.4%, 24 h) and on
# a shop (0.1%, 180 days), where items were set to expire so.
_REVIVED = 0.005

# Share of the items that must be idle at the end: below it nearly all items live, and nothing is gained.
_IDLE_ITEMS = 0.05

# Weight of the rarest action at most: a purchase against a view.
_LARGEST_WEIGHT = 10.0

# Events per second that one partition takes at its busiest, with room to spare.
_PER_PARTITION = 1000

# Partitions of the configuration's default: less is never suggested.
_DEFAULT_PARTITIONS = 4


def profile(con: ImportDatabase, folder: Path) -> Profile:
    """Compute the figures of a written data set, whose staging tables are still there."""
    events, items = (f"read_parquet({literal(folder / name)})" for name in (EVENTS, ITEMS))
    count, first, last, users = con.execute(f"SELECT count(*), min(ts), max(ts), count(DISTINCT user) FROM {events}")[0]
    actions = con.execute(f"SELECT action, count(*) FROM {events} GROUP BY 1 ORDER BY 2 DESC, 1")
    catalogue, unknown, unused = con.execute(
        "SELECT count(d.id), count(*) FILTER (d.id IS NULL), count(*) FILTER (s.id IS NULL) "
        "FROM described d FULL JOIN seen s ON d.id = s.id"
    )[0]
    unknown_events = con.execute(f"SELECT count(*) FROM {events} e ANTI JOIN described d ON e.item = d.id")[0][0]
    sessions = con.execute(
        f"SELECT count(*) FILTER (gap IS NULL OR gap > {_PAUSE_MS}) FROM "
        f"(SELECT ts - lag(ts) OVER (PARTITION BY user ORDER BY ts) AS gap FROM {events})"
    )[0][0]
    unordered = con.execute(
        "SELECT count(*) FILTER (ts < before) FROM (SELECT ts, lag(ts) OVER () AS before FROM staged_events "
        "WHERE reason IS NULL)"
    )[0][0]
    repeats = con.execute(
        f"SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM {events} GROUP BY ts, user, item, action)"
    )[0][0]
    fifth = (last - first) / 5
    arrivals, idle = con.execute(
        f"SELECT count(*) FILTER (f > {first + fifth}), count(*) FILTER (l < {last - fifth}) FROM "
        f"(SELECT min(ts) AS f, max(ts) AS l FROM {events} GROUP BY item)"
    )[0]
    peak = con.execute(f"SELECT max(n) FROM (SELECT count(*) AS n FROM {events} GROUP BY ts // 1000)")[0][0]
    total, described_users, shown = con.execute(
        f"SELECT (SELECT count(*) FROM {items}), (SELECT count(DISTINCT id) FROM staged_users WHERE reason IS NULL), "
        "(SELECT count(*) FROM shown)"
    )[0]
    seen = max(1, catalogue + unknown - unused)
    return Profile(
        events=count,
        first=first,
        last=last,
        actions=dict(actions),
        items=total,
        catalogue=catalogue,
        unknown_items=unknown,
        unknown_events=unknown_events,
        unused_items=unused,
        users=users,
        described_users=described_users,
        impressions=shown,
        sessions=sessions,
        session_events=round(count / max(1, sessions), 2),
        unordered=unordered,
        repeats=int(repeats),
        arrivals_per_day=round(arrivals / max(1e-9, 0.8 * (last - first) / _DAY_MS), 2) if last > first else 0.0,
        idle_items=round(idle / seen, 4),
        peak_per_second=peak,
    )


def idle_limit(con: ImportDatabase, folder: Path, figures: Profile) -> tuple[float | None, str]:
    """Return the seconds after which an item without an event should expire, None for never, and why."""
    span = figures.last - figures.first
    steps = [hours for hours in _IDLE_HOURS if hours * 3_600_000 <= span / 4]
    if not steps:
        return None, "the events cover too short a time to see items end"
    events = f"read_parquet({literal(folder / EVENTS)})"
    revived = con.execute(
        f"SELECT {', '.join(f'count(*) FILTER (gap > {hours * 3_600_000})' for hours in steps)} FROM "
        f"(SELECT ts - lag(ts) OVER (PARTITION BY item ORDER BY ts) AS gap FROM {events})"
    )[0]
    ended = con.execute(
        f"SELECT {', '.join(f'avg(CAST(l < {figures.last - hours * 3_600_000} AS INTEGER))' for hours in steps)} FROM "
        f"(SELECT max(ts) AS l FROM {events} GROUP BY item)"
    )[0]
    for hours, back, over in zip(steps, revived, ended, strict=True):
        share = back / max(1, figures.events)
        if share <= _REVIVED:
            pause = format_duration(hours * 3600.0)
            text = f"{share:.2%} of the events are of an item idle for {pause} before; {over:.0%} of the items end so"
            return (hours * 3600.0, text) if over >= _IDLE_ITEMS else (None, f"few items end: {text}")
    return None, "items come back after every pause that was tried"


def advise(figures: Profile, idle: float | None, idle_why: str) -> list[Advice]:
    """Return the settings that the figures suggest."""
    value = '"none"' if idle is None else f'"{format_duration(idle)}"'
    found = [Advice(key="trainer.expire_after_idle", value=value, why=idle_why)]
    counts = figures.actions
    if len(counts) > 1:
        most = max(counts.values())
        weights = {name: _weight(most / count) for name, count in counts.items()}
        body = ", ".join(f"{_toml_key(name)} = {weight:g}" for name, weight in weights.items())
        shares = ", ".join(f"{name} {count / figures.events:.1%}" for name, count in counts.items())
        why = (
            f"a rarer action says more: the root of how much rarer it is than the most frequent, at most 10 ({shares})"
        )
        found.append(Advice(key="trainer.action_weights", value=f"{{ {body} }}", why=why))
    partitions = max(_DEFAULT_PARTITIONS, -(-figures.peak_per_second // _PER_PARTITION))
    why = f"{figures.peak_per_second:,} events in the busiest second; a partition is given {_PER_PARTITION:,}"
    found.append(Advice(key="streaming.partitions", value=str(partitions), why=why))
    return found


def _weight(ratio: float) -> float:
    return min(_LARGEST_WEIGHT, round(2 * math.sqrt(ratio)) / 2)


def _toml_key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else f'"{name}"'
