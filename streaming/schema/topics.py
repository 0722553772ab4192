"""The topics that a consumer reads, and what each of them is for."""

from __future__ import annotations

from enum import Enum

from hsnn.streaming.config import StreamingConfig


class TopicRole(Enum):
    """What a topic is for."""

    ITEMS = "items"
    USERS = "users"
    CONTROL = "control"
    ENGAGEMENTS = "engagements"


def topic_roles(config: StreamingConfig) -> dict[str, TopicRole]:
    """Map every topic that is consumed to its role, in merge order: at equal times the first topic goes first."""
    return {
        config.items_topic: TopicRole.ITEMS,
        config.users_topic: TopicRole.USERS,
        config.control_topic: TopicRole.CONTROL,
        config.engagements_topic: TopicRole.ENGAGEMENTS,
    }
