"""How many ids have rows, from when on, and for how long: `trainer.ids`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hsnn.monitoring.duration import Duration


class IdLimits(BaseModel):
    """Of one id table; none by default: every id gets a row when it is first seen, and keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    admit_after: int = Field(
        1,
        ge=1,
        description="an id that nothing describes gets its row when it is seen so often; until then it has none",
    )
    expire_after: Duration | None = Field(
        None,
        description="an id that was not seen for so long of stream time gives its row up (an item once it departed)",
    )
    cap: int | None = Field(None, ge=1, description="rows at most; when they run short, the longest unseen ids leave")
    floor: int = Field(0, ge=0, description="so many ids keep their rows, however long they were not seen")

    @model_validator(mode="after")
    def _floor_under_cap(self) -> IdLimits:
        if self.cap is not None and self.floor > self.cap:
            raise ValueError(
                f"floor = {self.floor} is above cap = {self.cap}; no more ids can stay than there are rows"
            )
        return self


class IdsConfig(BaseModel):
    """Limits of both id tables, and how rows of items are used again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: IdLimits = IdLimits()
    users: IdLimits = IdLimits()
    candidates: int = Field(
        65_536, ge=1, description="ids remembered at most, per table, that were seen and have no row"
    )
    reuse_after: int = Field(
        1_000_000,
        ge=0,
        description="events at least between two reuses of the rows that items gave up; each one is a new epoch",
    )

    @property
    def limited(self) -> bool:
        """Whether a row can be denied or given up."""
        return self.items != IdLimits() or self.users != IdLimits()
