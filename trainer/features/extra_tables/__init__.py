"""Per-item and per-user tables that count engagements, each added by one file in this folder.

A file here defines a class with the methods of `EngagementTable` and registers it::

    register("clicks", ClickCounter, TableKind.ITEM, served=True)

No other code changes: the learner passes it every batch, grows it, and resets recycled rows; checkpoints hold it as
``clicks.COLUMN``; if it is served, snapshots, state deltas and the server's mirror
(`hsnn.serving.mirror.served_tables`) have its columns under the same names.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.row_table import RowTable
from hsnn.trainer.rowstore.table import TableKind


class EngagementTable(RowTable, Protocol):
    """A table by row that counts engagements."""

    def update(self, rows: NDArray[np.int64], ts: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        """Count engagements with (of) the items (users) `rows` (n,), which may repeat; `ts` (n,) are in epoch ms."""


class ExtraTable(NamedTuple):
    """A registered table: its factory, the kind of its rows, and whether its columns are published to servers."""

    make: Callable[[], EngagementTable]
    kind: TableKind
    served: bool


_REGISTERED: dict[str, ExtraTable] = {}


def register(name: str, make: Callable[[], EngagementTable], kind: TableKind, *, served: bool = False) -> None:
    """Register a table for every learner made from now on.

    Raises
    ------
    ValueError
        The name is taken or not an identifier.
    """
    if name in _REGISTERED or not name.isidentifier():
        raise ValueError(f"{name!r} cannot name a table: it must be an identifier that no other table has")
    _REGISTERED[name] = ExtraTable(make, kind, served)


def unregister(name: str) -> None:
    """Remove a table; learners made before keep theirs."""
    del _REGISTERED[name]


def extra_tables() -> dict[str, ExtraTable]:
    """Return the registered tables by name, after importing every module of this package."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(_REGISTERED)
