"""Arrays and values of checkpoints that have been renamed: old names to new ones.

A checkpoint's manifest has the number of its format. Reading one of an older format gives its parts the names of today;
and two lists of `hsnn.trainer.checkpoint.digest.parts` can be compared whatever formats they are of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hsnn.trainer.rowstore.arrays import Array

FORMAT = 2
"""Number of the format that is written; +1 with every change of names."""

RENAMED_ARRAYS = {
    "states.": "item_counters.",
    "lagged.": "delayed_counters.",
    "leaves.": "inverted_lists.",
    "lodging.turns": "row_recycling.recycled",
    "lodging.": "row_recycling.",
}
"""Arrays of format 1: a name, or with a dot at its end all names that begin so. The first that fits counts."""

RENAMED_VALUES = {
    "learner._last_batch": "learner.last_batch",
    "learner.leaves_shift": "learner.inverted_lists_shift",
    "learner.steering": "learner.commanded",
}
"""Values of format 1, by part of the trainer and name."""


def new_name(old: str) -> str:
    """Return what an array or value of format 1 is called today.

    Examples
    --------
    >>> [new_name(old) for old in ("leaves.mass", "lodging.turns", "learner.steering", "items.tokens")]
    ['inverted_lists.mass', 'row_recycling.recycled', 'learner.commanded', 'items.tokens']
    """
    return _renamed(old, RENAMED_ARRAYS | RENAMED_VALUES)


def old_name(new: str) -> str:
    """Return what an array or value of today was called in format 1.

    Examples
    --------
    >>> [old_name(new) for new in ("inverted_lists.mass", "row_recycling.recycled", "row_recycling.items.free")]
    ['leaves.mass', 'lodging.turns', 'lodging.items.free']
    """
    return _renamed(new, {new: old for old, new in (RENAMED_ARRAYS | RENAMED_VALUES).items()})


def converted(
    arrays: Mapping[str, Array], values: Mapping[str, Any], format_number: int
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Give a checkpoint's arrays and values, read in the format of that number, the names of today."""
    if format_number >= FORMAT:
        return dict(arrays), dict(values)
    renamed: dict[str, Any] = {}
    for part, inner in values.items():
        if isinstance(inner, dict):
            inner = {new_name(f"{part}.{name}").removeprefix(f"{part}."): value for name, value in inner.items()}
        renamed[part] = inner
    return {new_name(name): array for name, array in arrays.items()}, renamed


def in_old_names(lines: Iterable[str]) -> list[str]:
    """Rewrite lines of `hsnn.trainer.checkpoint.digest.parts` with the names of format 1, sorted as they were then.

    Examples
    --------
    >>> in_old_names(["array covisitation.last <i8[1] ab", "array inverted_lists.mass <f8[2] cd"])
    ['array covisitation.last <i8[1] ab', 'array leaves.mass <f8[2] cd']
    """
    renamed = []
    for line in lines:
        kind, name, rest = line.split(" ", 2)
        renamed.append(f"{kind} {old_name(name)} {rest}")
    return sorted(renamed)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if name == old or (old.endswith(".") and name.startswith(old)):
            return new + name.removeprefix(old)
    return name
