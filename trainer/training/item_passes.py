"""Passes over all items, a slice of them per step: assignment to moved nodes, and priors at another half-life.

With a million items either takes seconds, so a step does `SLICE` rows and the next one goes on. How far a pass has come
is part of the checkpoint. Up to `SLICE` items a pass is over in the step that begins it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array, grown

SLICE = 8192
"""Rows per step and pass: about a third of the time of a gradient step."""


@dataclass(slots=True)
class ItemPasses:
    """The passes under way.

    Attributes
    ----------
    assigned : int or None
        Rows that were assigned since the nodes moved; None: no such pass.
    half_life : int or None
        Index of the half-life that the priors are computed at; None: no such pass.
    weighed : int
        Rows that have such a prior.
    log_mass : (>= weighed,) float64
        These priors. They replace the ones in use all at once: two half-lives do not compare.
    """

    assigned: int | None = None
    half_life: int | None = None
    weighed: int = 0
    log_mass: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def begin_weighing(self, half_life: int) -> None:
        """Begin to compute the priors at another half-life."""
        self.half_life, self.weighed, self.log_mass = half_life, 0, np.zeros(0)

    def add_priors(self, log_mass: NDArray[np.float64]) -> None:
        """Add the priors of the next rows (n,)."""
        stop = self.weighed + len(log_mass)
        self.log_mass = grown(self.log_mass, stop)
        self.log_mass[self.weighed : stop] = log_mass
        self.weighed = stop

    def finish_weighing(self) -> tuple[int, NDArray[np.float64]]:
        """End the pass; return its half-life and the priors of all rows, (weighed,)."""
        assert self.half_life is not None
        done = self.half_life, self.log_mass[: self.weighed]
        self.half_life, self.weighed, self.log_mass = None, 0, np.zeros(0)
        return done

    def state_dict(self) -> dict[str, Array]:
        """Return the passes as arrays."""
        numbers = [-1 if number is None else number for number in (self.assigned, self.half_life)]
        return {"numbers": np.array(numbers, np.int64), "log_mass": self.log_mass[: self.weighed]}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from copies of what `state_dict` returned."""
        self.assigned, self.half_life = (None if number < 0 else number for number in arrays["numbers"].tolist())
        self.log_mass = arrays["log_mass"].copy()
        self.weighed = len(self.log_mass)
