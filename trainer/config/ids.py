"""Configuration of id admission, expiry and row reuse: `trainer.ids`."""

from __future__ import annotations

from pydantic import Field, model_validator

from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section


class IdLimits(Section):
    """Limits of one id table; by default there are none: every id gets a row when first seen, and keeps it."""

    admit_after: int = Field(
        1,
        ge=1,
        description="times that an id without features must be seen before it gets a row",
    )
    expire_after: Duration | None = Field(
        None,
        gt=0,
        description="stream time without being seen after which an id gives up its row (an item once it has expired)",
    )
    cap: int | None = Field(
        None, ge=1, description="most rows; when they run short, the ids unseen for longest are evicted"
    )
    floor: int = Field(0, ge=0, description="ids that keep their rows however long they were not seen")

    @model_validator(mode="after")
    def _floor_under_cap(self) -> IdLimits:
        if self.cap is not None and self.floor > self.cap:
            raise ValueError(
                f"floor = {self.floor} is above cap = {self.cap}; no more ids can stay than there are rows"
            )
        return self


class IdsConfig(Section):
    """Limits of both id tables, and the reuse of item rows."""

    items: IdLimits = IdLimits()
    users: IdLimits = IdLimits()
    candidates: int = Field(
        65_536,
        ge=1,
        description="most ids without a row that are counted, and whose features are remembered, per table",
    )
    reuse_after: int = Field(
        1_000_000,
        ge=0,
        description="fewest events between two reuses of rows that items gave up; each reuse starts a new epoch",
    )

    @property
    def limited(self) -> bool:
        """Whether an id can be refused a row or lose it."""
        return self.items != IdLimits() or self.users != IdLimits()
