"""A shop of which everything is known, and its answers by brute force: what the query language is checked against."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

HOUR = 3_600_000

Facts = Mapping[str, Any]
"""Features of an item, and ``$first_seen``, ``$last_engaged``, ``$expires_at``, ``$node``."""


def meets(condition: Mapping[str, Any], item: Facts) -> bool:
    """Whether an item meets a condition as it is sent."""
    for name, combine in (("any", any), ("all", all)):
        if name in condition:
            return combine(meets(part, item) for part in condition[name])
    if "none" in condition:
        return not any(meets(part, item) for part in condition["none"])
    held = item.get(condition["field"])
    values = held if isinstance(held, list) else [] if held is None else [held]
    if "equal" in condition:
        return condition["equal"] in values
    if "in" in condition:
        return any(value in condition["in"] for value in values)
    if "not" in condition:
        refused = condition["not"] if isinstance(condition["not"], list) else [condition["not"]]
        return not any(value in refused for value in values)
    if "has" in condition:
        return bool(values) == condition["has"]
    if "prefix" in condition:
        steps = condition["prefix"].split("/")
        return any(isinstance(value, str) and value.split("/")[: len(steps)] == steps for value in values)
    return any(_in_range(condition["range"], number(value)) for value in values)


def number(value: Any) -> float:
    """Read a number or a date, epoch ms."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() * 1000
    return float(value)


def _in_range(ends: Mapping[str, Any], value: float) -> bool:
    tests: dict[str, Callable[[float, float], bool]] = {
        "gte": lambda left, right: left >= right,
        "gt": lambda left, right: left > right,
        "lte": lambda left, right: left <= right,
        "lt": lambda left, right: left < right,
    }
    return all(tests[name](value, number(end)) for name, end in ends.items())


def boost_of(boosts: list[Mapping[str, Any]], item: Facts, now: int) -> float:
    """What boosts add to the score of an item."""
    total = 0.0
    for boost in boosts:
        if "where" in boost and not meets(boost["where"], item):
            continue
        fade = 1.0
        if "recency" in boost:
            since = item.get(boost["recency"].get("field", "$first_seen"))
            age = math.inf if since is None else max(now - number(since), 0) / HOUR
            fade = 0.5 ** (age / boost["recency"]["half_life_hours"])
        total += boost["add"] * fade
    return total


def capped(ranking: list[str], items: Mapping[str, Facts], caps: list[Mapping[str, Any]], k: int) -> list[str]:
    """Walk a ranking, and take what the caps allow."""
    counts: Counter[tuple[str, Any]] = Counter()
    taken: list[str] = []
    for name in ranking:
        keys = []
        for cap in caps:
            held = items[name].get(cap["field"])
            for value in held if isinstance(held, list) else [] if held is None else [held]:
                keys.append((cap["field"], value, cap["most"]))
        if len(taken) < k and all(counts[field, value] < most for field, value, most in keys):
            taken.append(name)
            counts.update((field, value) for field, value, _ in keys)
    return taken
