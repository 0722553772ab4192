"""Where a consumer starts: at a saved state, at given positions, or at the log's beginning; nowhere else in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hsnn.streaming.config import OnLostOffsets
from hsnn.streaming.consumer.offsets import Place, Progress
from hsnn.streaming.consumer.out_of_range import Loss, losses, settled
from hsnn.streaming.consumer.watermark import Watermark
from hsnn.streaming.errors import StateError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position


def resume(
    event_log: EventLog,
    owned: Sequence[Position],
    state: Mapping[str, Any] | None,
    given: Mapping[Position, int],
    watermark: int | None,
    policy: OnLostOffsets = "fail",
) -> tuple[Progress, list[Loss]]:
    """Find the start, and what of it was lost; see `hsnn.streaming.consumer.consumer.Consumer` for the parameters.

    Raises
    ------
    OutOfRangeError
        The log does not hold the records at a position, and the policy is to stop.
    StateError
        The state is unreadable, or of partitions that are not owned.
    """
    begin = event_log.begin_positions(owned)
    if state is None:
        progress = Progress({p: Place(given.get(p, begin[p])) for p in owned})
        progress.watermark = Watermark() if watermark is None else Watermark(watermark)
    else:
        progress = Progress.from_state(state)
        if strange := set(progress.places) - set(owned):
            raise StateError(f"the state is of partitions {sorted(strange)}, which this rank does not own")
        for position in owned:  # partitions may have been added since
            progress.places.setdefault(position, Place(begin[position]))
    found = losses(event_log, progress.positions())
    for position, offset in settled(found, policy).items():
        progress.places[position].offset, progress.places[position].index = offset, 0
    for loss in found:
        progress.counts.lose(loss.position[0], loss.records(policy))
    return progress, found
