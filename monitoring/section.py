"""What all sections of the configuration have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the configuration: unknown keys, NaN and infinity are refused, and values do not change.

    Examples
    --------
    >>> class Speed(Section):
    ...     rate: float = 1.0
    >>> Speed(rate=float("nan"))
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for Speed
    rate
      Input should be a finite number [type=finite_number, input_value=nan, input_type=float]
    ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
