"""Who owns which partition when several workers read one log."""

from __future__ import annotations

from dataclasses import dataclass

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.topics import TopicRole, topic_roles


@dataclass(frozen=True, slots=True)
class PartitionAssignment:
    """What one worker of a world owns: partition p of every topic belongs to rank ``p % world_size``.

    Examples
    --------
    >>> [partition for partition in range(5) if Share(1, 2).owns(partition)]
    [1, 3]

    Raises
    ------
    ValueError
        There is no such rank in the world.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not within a world of {self.world_size}")

    def owns(self, partition: int) -> bool:
        """Whether a partition of any topic is this worker's."""
        return partition % self.world_size == self.rank


def owned_partitions(
    event_log: EventLog, config: StreamingConfig, share: PartitionAssignment
) -> list[tuple[Position, TopicRole]]:
    """Partitions that a worker reads, with their roles; topics that do not exist are made.

    Commands are read by all: each worker hears them where they stand in its own order.
    """
    owned: list[tuple[Position, TopicRole]] = []
    for topic, role in topic_roles(config).items():
        event_log.create_topic(topic, config.partitions, compacted=role in (TopicRole.ITEMS, TopicRole.USERS))
        partitions = event_log.partitions(topic)
        owned += [((topic, p), role) for p in partitions if role is TopicRole.CONTROL or share.owns(p)]
    return owned
