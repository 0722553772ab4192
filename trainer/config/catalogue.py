"""Configuration of the catalogue: who may be recommended."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hsnn.monitoring.duration import Duration

Authority = Literal["auto", "announced", "seen"]
"""Which items may be recommended."""


class CatalogueConfig(BaseModel):
    """What the events about items decide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authority: Authority = Field(
        "auto",
        description="which items may be recommended: `announced` ones, all that were `seen`, or `auto`: announced ones "
        "as soon as the items topic holds any",
    )
    mass_expiry_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of the living items that may expire at once; more (and more than 20) are held, with an "
        "alarm, until `hsnn control expire`, or until the stream has gone on for `mass_expiry_hold`. 1: none are held",
    )
    mass_expiry_hold: Duration = Field(
        3600.0, description="stream time after which items that are held leave, confirmed by the events since then"
    )
