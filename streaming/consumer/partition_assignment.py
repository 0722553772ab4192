"""Who owns which partition when several workers read one log."""

from __future__ import annotations

from dataclasses import dataclass

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.decode.json_event import Role
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.schema.batch import Position


@dataclass(frozen=True, slots=True)
class Share:
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


def topic_roles(config: StreamingConfig) -> dict[str, Role]:
    """Topics that are consumed, in the order in which they go first at equal times."""
    return {
        config.items_topic: Role.ITEMS,
        config.users_topic: Role.USERS,
        config.control_topic: Role.CONTROL,
        config.engagements_topic: Role.ENGAGEMENTS,
    }


def owned_partitions(event_log: EventLog, config: StreamingConfig, share: Share) -> list[tuple[Position, Role]]:
    """Partitions that a worker reads, with their roles; topics that do not exist are made.

    Commands are read by all: each worker hears them where they stand in its own order.
    """
    owned: list[tuple[Position, Role]] = []
    for topic, role in topic_roles(config).items():
        event_log.create_topic(topic, config.partitions, compacted=role in (Role.ITEMS, Role.USERS))
        partitions = event_log.partitions(topic)
        owned += [((topic, p), role) for p in partitions if role is Role.CONTROL or share.owns(p)]
    return owned
