"""Configuration of the items that are left out for a user: `trainer.exclude`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hsnn.monitoring.duration import Duration


class ExcludeConfig(BaseModel):
    """Which of a user's past items are not recommended, and so are no lessons and no candidates in training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["recent", "seen", "nothing"] = Field(
        "recent",
        description="past items left out: the recent ones by `items` and `time`, all in the memory, or none; "
        "disliked ones are under every rule",
    )
    items: int = Field(10, ge=0, description="last distinct items of a user that are recent")
    time: Duration = Field(1800.0, description="items engaged with in so long are recent, too: a session")
