"""Conditions and boosts of requests, compiled to a mask and an addend by item row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.filter_schema import ITEM_TIMES, Bound, Condition, Filters, ValueRange
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.feature_index import in_range
from hsnn.serving.mirror.feature_values import AnyOf, Present, UnderPath, canonical_value, number_of
from hsnn.serving.schema import Boost
from hsnn.trainer.features.item_counters import HOUR

# Text of a condition in an explanation, at most: a list of values may be long.
_LONGEST_TEXT = 120


def condition_mask(state: EpochState, condition: Condition, rows: int) -> NDArray[np.bool_]:
    """Return which of the first `rows` rows meet a condition: (rows,) bool, read-only.

    Raises
    ------
    RequestError
        A field is neither a feature of any item nor one of `ITEM_TIMES`, or the end of a range is no number or time.
    """
    if condition.field is not None:
        return _field_mask(state, condition.field, condition, rows)
    masks = [condition_mask(state, part, rows) for part in condition.parts]
    if condition.all_of is not None:
        return np.logical_and.reduce(masks) if masks else np.ones(rows, np.bool_)
    met = np.logical_or.reduce(masks) if masks else np.zeros(rows, np.bool_)
    return met if condition.any_of is not None else ~met


def restrictions(state: EpochState, filters: Filters, rows: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield each filter on features and times, in words, with those of the first `rows` rows that pass: (rows,).

    Raises as `condition_mask` does.
    """
    for name, values in filters.features.items():
        check_name(state, name)
        yield f"{name} in {values}"[:_LONGEST_TEXT], state.items.features.mask(name, values, rows)
    if filters.where is not None:
        for part in filters.where.all_of or [filters.where]:
            yield describe_condition(part), condition_mask(state, part, rows)
    if filters.available_at is not None:
        moment = time.time_ns() // 1_000_000 if filters.available_at == "now" else filters.available_at
        yield f"available at {moment}", state.items.unavailable_from[:rows] > moment


def filter_results(state: EpochState, filters: Filters, row: int) -> dict[str, bool]:
    """Return each filter in words, and whether a row passes it."""
    name = state.items.ids.ids[row]
    results = {text: bool(met[row]) for text, met in restrictions(state, filters, len(state.items.ids))}
    if filters.items is not None:
        results["items"] = name in map(str, filters.items)
    if filters.exclude:
        results["exclude"] = name not in map(str, filters.exclude)
    return results


def check_name(state: EpochState, name: str, also: Sequence[str] = (), what: str = "filter by") -> None:
    """Raise RequestError if `name` is neither a feature of any item nor in `also`."""
    features = state.items.features
    if not features.has_name(name) and name not in also:
        known = ", ".join([*features.names, *also])
        raise RequestError(f"no item has a feature {name!r} to {what}; known: {known or 'none yet'}")


def describe_condition(condition: Condition) -> str:
    """Write a condition as a short text.

    Examples
    --------
    >>> describe_condition(Condition(any_of=[Condition(field="price", range=ValueRange(lt=9))]))
    'any(price range lt 9)'
    """
    if condition.field is None:
        name = "any" if condition.any_of is not None else "all" if condition.all_of is not None else "none"
        text = f"{name}({', '.join(describe_condition(part) for part in condition.parts)})"
    elif condition.range is not None:
        ends = [(name, getattr(condition.range, name)) for name in ValueRange.__struct_fields__]
        text = f"{condition.field} range " + " ".join(f"{name} {end}" for name, end in ends if end is not None)
    else:
        operators = (("equal", condition.equal), ("in", condition.is_in), ("not", condition.is_not))
        further = (("prefix", condition.prefix), ("has", condition.has))
        name, operand = next((name, value) for name, value in operators + further if value is not None)
        text = f"{condition.field} {name} {operand}"
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


def boost_addend(state: EpochState, boosts: Sequence[Boost], rows: int, now: int) -> NDArray[np.float32] | None:
    """Return what boosts add to the scores of the first `rows` rows at `now`, epoch ms: (rows,); None without boosts.

    Raises as `condition_mask` does.
    """
    if not boosts:
        return None
    addend = np.zeros(rows, np.float32)
    for boost in boosts:
        part = np.full(rows, boost.add, np.float32)
        if boost.recency is not None:
            times = _times(state, boost.recency.field, rows)
            age_hours = np.maximum(now - times, 0) / HOUR
            with np.errstate(over="ignore"):  # of a half-life near zero, nothing is left after any age
                left = np.exp2(-age_hours / boost.recency.half_life_hours)
            part *= np.nan_to_num(left, nan=0.0).astype(np.float32)
        if boost.where is not None:
            part *= condition_mask(state, boost.where, rows)
        addend += part
    return addend


def _field_mask(state: EpochState, name: str, condition: Condition, rows: int) -> NDArray[np.bool_]:
    """Test one field of an item."""
    if name in ITEM_TIMES:
        times = _times(state, name, rows)
        if condition.range is None:
            known: NDArray[np.bool_] = ~np.isnan(times)
            return known if condition.has else ~known
        least, most, strict = _ends(condition.range)
        return in_range(times, least, most, strict)
    check_name(state, name, ITEM_TIMES)
    index = state.items.features
    if condition.range is not None:
        least, most, strict = _ends(condition.range)
        return index.range_mask(name, least, most, strict=strict, rows=rows)
    if condition.prefix is not None:
        return index.predicate_mask(name, UnderPath(condition.prefix, condition.separator), rows)
    if condition.has is not None:
        present = index.predicate_mask(name, Present(), rows)
        return present if condition.has else ~present
    if condition.is_not is not None:
        refused = condition.is_not if isinstance(condition.is_not, list) else [condition.is_not]
        return ~index.mask(name, refused, rows)
    accepted = condition.is_in if condition.is_in is not None else [condition.equal]
    return index.predicate_mask(name, AnyOf(frozenset(map(canonical_value, accepted))), rows)


def _times(state: EpochState, name: str, rows: int) -> NDArray[np.float64]:
    """Return one of the times of the first `rows` rows, epoch ms, NaN where it is unknown: (rows,)."""
    stored = {
        "$first_seen": state.states.first,
        "$last_engaged": state.states.last,
        "$expires_at": state.items.expires_at,
    }
    if name in stored:
        times = np.zeros(rows)
        known = stored[name][:rows]
        times[: len(known)] = known
        times[times == 0] = np.nan
        return times
    check_name(state, name, ITEM_TIMES, what="take a time from")
    return state.items.features.numbers(name, rows)


def _ends(bounds: ValueRange) -> tuple[float, float, tuple[bool, bool]]:
    """Return both ends of a range, and whether each is left out itself."""
    least, most = -np.inf, np.inf
    if bounds.gte is not None or bounds.gt is not None:
        least = _number(bounds.gte if bounds.gt is None else bounds.gt)
    if bounds.lte is not None or bounds.lt is not None:
        most = _number(bounds.lte if bounds.lt is None else bounds.lt)
    return least, most, (bounds.gt is not None, bounds.lt is not None)


def _number(end: Bound | None) -> float:
    number = number_of(canonical_value(end)) if isinstance(end, str) else float(end or 0)
    if number != number:
        raise RequestError(f"{end!r} ends a range and is neither a number nor a time as in 2026-01-31T12:00:00Z")
    return number
