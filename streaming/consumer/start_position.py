"""Where a consumer starts: at a saved state, at given offsets, or at the beginning of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hsnn.streaming.config import OnLostOffsets
from hsnn.streaming.consumer.offsets import ConsumerProgress, PartitionProgress
from hsnn.streaming.consumer.out_of_range import OutOfRangePosition, find_out_of_range, reset_offsets
from hsnn.streaming.consumer.watermark import Watermark
from hsnn.streaming.errors import StateError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position


def resolve_start(
    event_log: EventLog,
    owned: Sequence[Position],
    *,
    state: Mapping[str, Any] | None,
    positions: Mapping[Position, int],
    watermark: int | None,
    policy: OnLostOffsets = "fail",
) -> tuple[ConsumerProgress, list[OutOfRangePosition]]:
    """Find the start, and the partitions of which records before it are lost.

    The parameters are those of `hsnn.streaming.consumer.consumer.Consumer`.

    Raises
    ------
    OutOfRangeError
        The log does not hold the records at a position, and the policy is to stop.
    StateError
        The state is unreadable, or of partitions that are not owned.
    """
    begin = event_log.begin_positions(owned)
    if state is None:
        progress = ConsumerProgress({p: PartitionProgress(positions.get(p, begin[p])) for p in owned})
        progress.watermark = Watermark() if watermark is None else Watermark(watermark)
    else:
        progress = ConsumerProgress.from_state_dict(state)
        if strange := set(progress.partitions) - set(owned):
            raise StateError(f"the state is of partitions {sorted(strange)}, which this rank does not own")
        for position in owned:  # partitions may have been added since
            progress.partitions.setdefault(position, PartitionProgress(begin[position]))
    out_of_range = find_out_of_range(event_log, progress.positions())
    for position, offset in reset_offsets(out_of_range, policy).items():
        progress.partitions[position].offset, progress.partitions[position].index = offset, 0
    for lost in out_of_range:
        progress.counts.add_lost(lost.position[0], lost.lost_records(policy))
    return progress, out_of_range
