"""Count the events that were not trained, from the log alone, independent of the trainer's own figures."""

from __future__ import annotations

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog


def pending(event_log: EventLog, config: StreamingConfig) -> int:
    """Count the engagement records beyond the positions that the trainer committed."""
    topic = config.engagements_topic
    positions = [(topic, partition) for partition in event_log.partitions(topic)]
    ends, begins = event_log.end_positions(positions), event_log.begin_positions(positions)
    committed = event_log.committed(config.group, positions)
    return sum(ends[position] - committed.get(position, begins[position]) for position in positions)
