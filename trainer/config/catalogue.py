"""Configuration of the catalogue: who may be recommended."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
