"""Configuration of the memory of each user's past items: `trainer.memory`."""

from __future__ import annotations

from pydantic import Field

from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section

MOST_ITEMS = 4096
"""Largest limit of items per user: 45 kB per user, all of which every state delta of the user carries."""


class MemoryConfig(Section):
    """How many of a user's past items are remembered, and for how long."""

    items: int = Field(
        100, ge=1, le=MOST_ITEMS, description="distinct past items remembered per user, 11 bytes each; newest kept"
    )
    time: Duration | None = Field(
        None,
        gt=0,
        description="stream time after which an item that the user did not come back to is forgotten; none: never",
    )

    @property
    def keep_ms(self) -> int | None:
        """The time in milliseconds."""
        return None if self.time is None else int(self.time * 1000)
