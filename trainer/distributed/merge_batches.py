"""Merge the batches of several workers into one, deterministically."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.batch import Batch, Engagements, LabelledImpressions

_Columns = TypeVar("_Columns", Engagements, LabelledImpressions)

# Fields of a batch that are concatenated.
_LISTS = ("items", "item_sent_at", "users", "deleted_users", "seen_items", "control")

# Fields of a batch that are added up.
_COUNTS = ("impressions", "pending", "early", "late_actions", "dead_lettered")


def merge_batches(batches: Sequence[Batch]) -> Batch:
    """Join batches of disjoint partitions, in their order.

    Counts add up, stream time is the furthest; it is dry if all are. Where several have read the same partition, the
    position is the one that all have come to.
    """
    if len(batches) == 1:
        return batches[0]
    lists: dict[str, Any] = {name: list(chain.from_iterable(getattr(b, name) for b in batches)) for name in _LISTS}
    return Batch(
        engagements=_joined([batch.engagements for batch in batches]),
        labelled_impressions=_joined(
            [batch.labelled_impressions for batch in batches if len(batch.labelled_impressions)]
            or [batches[0].labelled_impressions]
        ),
        positions=furthest_common(batch.positions for batch in batches),
        watermark=max(batch.watermark for batch in batches),
        dropped=dict(sum((Counter(batch.dropped) for batch in batches), Counter())),
        letter_reasons=dict(sum((Counter(batch.letter_reasons) for batch in batches), Counter())),
        caught_up=all(batch.caught_up for batch in batches),
        **lists,
        **{name: sum(getattr(batch, name) for batch in batches) for name in _COUNTS},
    )


def furthest_common(positions: Iterable[dict[Position, int]]) -> dict[Position, int]:
    """Join positions; of a partition that several read, the one that all have come to.

    Examples
    --------
    >>> furthest_common([{("a", 0): 5, ("b", 0): 3}, {("a", 1): 2, ("b", 0): 4}])
    {('a', 0): 5, ('b', 0): 3, ('a', 1): 2}
    """
    found: dict[Position, int] = {}
    for one in positions:
        for position, offset in one.items():
            found[position] = min(offset, found.get(position, offset))
    return found


def _joined(parts: Sequence[_Columns]) -> _Columns:
    """Put columns behind one another."""
    kind = type(parts[0])
    joined: dict[str, Any] = {}
    for name in (field.name for field in fields(kind)):
        values = [getattr(part, name) for part in parts]
        whole = isinstance(values[0], np.ndarray)
        joined[name] = np.concatenate(values) if whole else list(chain.from_iterable(values))
    return kind(**joined)
