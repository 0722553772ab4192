"""Where a consumer starts: at a saved state, at given positions, or at the log's beginning; nowhere else in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streaming.columns import Position
from streaming.errors import OutOfRangeError, StateError
from streaming.log import EventLog
from streaming.progress import Place, Progress
from streaming.watermark import Watermark


def resume(
    event_log: EventLog,
    owned: Sequence[Position],
    state: Mapping[str, Any] | None,
    given: Mapping[Position, int],
    watermark: int | None,
) -> Progress:
    """Find the start; see `streaming.consumer.Consumer` for the parameters.

    Raises
    ------
    OutOfRangeError
        The log does not hold the records at a position.
    StateError
        The state is unreadable, or of partitions that are not owned.
    """
    begin, end = event_log.begin_positions(owned), event_log.end_positions(owned)
    if state is None:
        progress = Progress({p: Place(given.get(p, begin[p])) for p in owned})
        progress.watermark = Watermark() if watermark is None else Watermark(watermark)
    else:
        progress = Progress.from_state(state)
        if strange := set(progress.places) - set(owned):
            raise StateError(f"the state is of partitions {sorted(strange)}, which this rank does not own")
        for position in owned:  # partitions may have been added since
            progress.places.setdefault(position, Place(begin[position]))
    for position, place in progress.places.items():
        _check_range(position, place.offset, begin[position], end[position])
    return progress


def _check_range(position: Position, offset: int, begin: int, end: int) -> None:
    name = f"{position[0]}/{position[1]}"
    if offset < begin:
        raise OutOfRangeError(
            f"{name}: the oldest record still held is {begin}, wanted {offset}; records were removed before they were "
            "learned: raise the log's retention, and start from a newer checkpoint or from none"
        )
    if offset > end:
        raise OutOfRangeError(
            f"{name}: the log ends at {end}, but this checkpoint stands at {offset}; the log was replaced: "
            "point `streaming.log` at the right one, or start without a checkpoint"
        )
