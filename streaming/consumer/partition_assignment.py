"""Which worker reads which partition when several workers share one log."""

from __future__ import annotations

from dataclasses import dataclass

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.topics import TopicRole, topic_roles


@dataclass(frozen=True, slots=True)
class PartitionAssignment:
    """The partitions of one worker: partition p of every topic belongs to rank ``p % world_size``.

    Examples
    --------
    >>> [partition for partition in range(5) if PartitionAssignment(1, 2).owns(partition)]
    [1, 3]

    Raises
    ------
    ValueError
        The rank is not below the world size.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not within a world of {self.world_size}")

    def owns(self, partition: int) -> bool:
        """Whether this worker owns a partition, of any topic."""
        return partition % self.world_size == self.rank


def owned_partitions(
    event_log: EventLog, config: StreamingConfig, assignment: PartitionAssignment, *, create: bool = True
) -> list[tuple[Position, TopicRole]]:
    """List the partitions that a worker reads, with the roles of their topics; `create` topics that do not exist.

    Commands are read by all workers: each executes them at their place in its own order.
    """
    owned: list[tuple[Position, TopicRole]] = []
    for topic, role in topic_roles(config).items():
        if create:
            event_log.create_topic(topic, config.partitions, compacted=role in (TopicRole.ITEMS, TopicRole.USERS))
        partitions = event_log.partitions(topic)
        owned += [((topic, p), role) for p in partitions if role is TopicRole.CONTROL or assignment.owns(p)]
    return owned
