"""Wire format of filters: conditions on features and times, nested, and lists of ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hsnn.streaming.schema.events import Id, Millis, Scalar

MOST_IDS = 100_000
"""Ids in a list of a filter: these are looked up in about 10 ms."""

MOST_CONDITIONS = 128
"""Conditions of one filter: each may take a pass over all rows, a millisecond for a million."""

FieldName = Annotated[str, Meta(min_length=1, max_length=256)]
"""Name of a feature of items, or of one of `ITEM_TIMES`."""

ITEM_TIMES = ("$first_seen", "$last_engaged", "$expires_at")
"""Times of every item, epoch ms, that a range and a recency may name beside the features."""

NODE = "$node"
"""Name of an item's node, for caps."""

Value = str | int | float | bool

Bound = int | float | Annotated[str, Meta(max_length=64)]
"""End of a range: a number, epoch ms, or a date or time as ISO 8601 has it (UTC where no zone is named)."""


class ValueRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A range of numbers or times; one end may be open.

    Attributes
    ----------
    gte, gt : the least value, or what values are above
    lte, lt : the largest value, or what values are below
    """

    gte: Bound | None = None
    gt: Bound | None = None
    lte: Bound | None = None
    lt: Bound | None = None

    def __post_init__(self) -> None:
        ends = (self.gte, self.gt), (self.lte, self.lt)
        if all(end is None for pair in ends for end in pair) or any(None not in pair for pair in ends):
            raise ValueError("a range has one of gte and gt, one of lte and lt, or both")


class Condition(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"is_in": "in", "is_not": "not", "any_of": "any", "all_of": "all", "none_of": "none"},
):
    """A condition on an item: a field with one operator, or ``any``, ``all`` or ``none`` of other conditions.

    Attributes
    ----------
    field : a feature; ``range`` and ``has`` may also name one of ``$first_seen``, ``$last_engaged``, ``$expires_at``
    equal : one of the feature's values is this one
    is_in : one of them is one of these
    is_not : none of them is this one, or one of these; also true of items without the feature
    range : one of them is in the range
    prefix : one of them is this path or below it, as ``shoes/men`` and ``shoes/men/boots`` are of ``shoes``
    separator : what divides the steps of the path
    has : whether the item has the feature
    any_of, all_of, none_of : whether at least one, all or none of these hold

    Examples
    --------
    >>> msgspec.json.encode(Condition(field="price", range=ValueRange(lt=20)))
    b'{"field":"price","range":{"lt":20}}'
    """

    field: FieldName | None = None
    equal: Value | None = None
    is_in: Annotated[list[Value], Meta(max_length=MOST_IDS)] | None = None
    is_not: Value | Annotated[list[Value], Meta(max_length=MOST_IDS)] | None = None
    range: ValueRange | None = None
    prefix: Annotated[str, Meta(min_length=1)] | None = None
    separator: Annotated[str, Meta(min_length=1, max_length=8)] = "/"
    has: bool | None = None
    any_of: list[Condition] | None = None
    all_of: list[Condition] | None = None
    none_of: list[Condition] | None = None

    def __post_init__(self) -> None:
        on_field = [name for name in ("equal", "is_in", "is_not", "range", "prefix", "has") if self._has(name)]
        nested = [name for name in ("any_of", "all_of", "none_of") if self._has(name)]
        if len(on_field) + len(nested) != 1 or (self.field is None) == bool(on_field):
            raise ValueError(
                "a condition is a field with one of equal, in, not, range, prefix, has; or one of any, all, none"
            )
        if self.field in ITEM_TIMES and on_field[0] not in ("range", "has"):
            raise ValueError(f"{self.field} is a time: it may have a range, or has")

    def _has(self, name: str) -> bool:
        return getattr(self, name) is not None

    @property
    def parts(self) -> list[Condition]:
        """The conditions inside of this one; none of a field."""
        return self.any_of or self.all_of or self.none_of or []

    def all_conditions(self) -> Iterator[Condition]:
        """Yield this condition and all inside of it."""
        yield self
        for part in self.parts:
            yield from part.all_conditions()


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Conditions that every returned item meets, all at once.

    Attributes
    ----------
    items : allow-list of item ids, also of items outside of the beam
    exclude : ids that are not returned
    features : feature name -> accepted values; of a list-valued feature one value must be accepted
    where : a condition
    available_at : epoch ms, or ``now``: items that will have expired by then are not returned; by default what counts
        is the watermark
    """

    items: Annotated[list[Id], Meta(max_length=MOST_IDS)] | None = None
    exclude: Annotated[list[Id], Meta(max_length=MOST_IDS)] = []
    features: dict[str, list[Scalar]] = {}
    where: Condition | None = None
    available_at: Millis | Literal["now"] | None = None

    def __post_init__(self) -> None:
        check_size(self.where)
        if len(self.features) > MOST_CONDITIONS:
            raise ValueError(f"{len(self.features)} features to filter by; the most is {MOST_CONDITIONS}")


def check_size(condition: Condition | None) -> None:
    """Raise ValueError if a condition has too many parts."""
    count = 0 if condition is None else sum(1 for _ in condition.all_conditions())
    if count > MOST_CONDITIONS:
        raise ValueError(f"{count} conditions in one filter; the most is {MOST_CONDITIONS}")
