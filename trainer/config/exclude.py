"""Configuration of the items that are left out for a user: `trainer.exclude`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section


class ExcludeConfig(Section):
    """Which of a user's past items are not recommended, and so are no examples and no candidates in training."""

    rule: Literal["recent", "seen", "nothing"] = Field(
        "recent",
        description="past items left out: the recent ones by `items` and `time`, all in the memory, or none; "
        "disliked ones are under every rule",
    )
    items: int = Field(10, ge=0, description="last distinct items of a user that are recent")
    time: Duration = Field(1800.0, description="items engaged with in so long are recent, too: a session")
