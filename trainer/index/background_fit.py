"""K-means for the nodes beside the steps: gather items over some steps, fit in a thread, take the result on time.

K-means over many items takes longer than a step may. So the items are gathered in slices, one per step, a thread fits a
copy of the nodes, and the result is taken exactly `FIT_STEPS` steps after the thread began. A step that finds the
thread still busy waits for it: which step sees which nodes never depends on how fast the thread was. A checkpoint holds
the thread's inputs, so that a restart takes the same result at the same step.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.index import maintenance
from hsnn.trainer.index.hierarchy import Hierarchy
from hsnn.trainer.index.maintenance import MaintenanceKind
from hsnn.trainer.rowstore.arrays import Array, select_prefix

FIT_STEPS = 16
"""Steps from the thread's start to its result: several times what k-means over the largest sample takes."""

GATHERED_AT_ONCE = 4096
"""Items gathered per step: a few milliseconds. So few in all are fitted at once, in the step itself."""


class BackgroundFit:
    """One run of k-means, from its sample to its result.

    Parameters
    ----------
    kind
        `MaintenanceKind.SEED` or `MaintenanceKind.REFIT`.
    rows : (n,) int64
        Items to fit the nodes to.
    seed
        Of the random numbers.
    even
        Whether a refit splits overfull nodes.

    Attributes
    ----------
    adopted_at : int or None
        Step before which the result is taken; None while items are gathered.
    """

    def __init__(self, kind: MaintenanceKind, rows: NDArray[np.int64], seed: tuple[int, ...], *, even: bool) -> None:
        self.kind, self.rows = kind, rows
        self.adopted_at: int | None = None
        self._seed, self._even = seed, even
        self._points: list[Tensor] = []
        self._started_from: dict[str, Tensor] = {}
        self._result: Future[Hierarchy] | None = None

    @property
    def missing(self) -> NDArray[np.int64]:
        """Rows (n,) of the next slice of items to gather; none once all are gathered."""
        gathered = sum(map(len, self._points))
        return self.rows[gathered : gathered + GATHERED_AT_ONCE]

    def gather(self, points: Tensor) -> None:
        """Add the projected items (n, d+1) of the rows that were `missing`."""
        self._points.append(points)

    def start(self, nodes: Hierarchy, step: int) -> None:
        """Fit `nodes`, a copy that nobody else changes, in a thread from this step on."""
        self.adopted_at = step + FIT_STEPS
        self._started_from = {name: value.clone() for name, value in nodes.state_dict().items()}
        points = torch.cat(self._points)
        self._points = [points]
        # The thread ends with its only task.
        executor = ThreadPoolExecutor(1, thread_name_prefix="node-fit")
        self._result = executor.submit(self._fit, nodes, points)
        executor.shutdown(wait=False)

    def _fit(self, nodes: Hierarchy, points: Tensor) -> Hierarchy:
        if self.kind == MaintenanceKind.SEED:
            maintenance.seed(nodes, points, np.random.default_rng(self._seed))
        else:
            maintenance.refit(nodes, points, even=self._even)
        return nodes

    @property
    def done(self) -> bool:
        """Whether the thread has ended."""
        return self._result is not None and self._result.done()

    def result(self) -> Hierarchy:
        """Return the fitted nodes; wait for the thread if it is still busy."""
        assert self._result is not None
        return self._result.result()

    def state_dict(self) -> dict[str, Array]:
        """Return the inputs: what is gathered so far, and the nodes that the thread began with."""
        arrays: dict[str, Array] = {f"nodes.{name}": value.numpy() for name, value in self._started_from.items()}
        seeds = self.kind == MaintenanceKind.SEED
        arrays["rows"], arrays["seed"] = self.rows, np.array(self._seed, np.int64)
        arrays["plan"] = np.array([seeds, self._even, -1 if self.adopted_at is None else self.adopted_at], np.int64)
        if self._points:
            arrays["points"] = torch.cat(self._points).numpy()
        return arrays

    @classmethod
    def from_state_dict(cls, arrays: Mapping[str, Array], hierarchy: Hierarchy) -> BackgroundFit:
        """Continue from copies of what `state_dict` returned; `hierarchy` has the shape of the nodes."""
        seeds, even, adopted_at = arrays["plan"].tolist()
        kind = MaintenanceKind.SEED if seeds else MaintenanceKind.REFIT
        fit = cls(kind, arrays["rows"].copy(), tuple(arrays["seed"].tolist()), even=bool(even))
        if "points" in arrays:
            fit.gather(torch.from_numpy(arrays["points"].copy()))
        if adopted_at >= 0:
            nodes = deepcopy(hierarchy)
            saved = select_prefix(arrays, "nodes.")
            nodes.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in saved.items()})
            fit.start(nodes, adopted_at - FIT_STEPS)
        return fit
