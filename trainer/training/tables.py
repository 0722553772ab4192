"""The learner's large tables: arrays and texts by row, of items, users, hashed features and past events.

They are named once, here; checkpoints copy and write them row by row. All else that a learner is made of is small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.ids.id_table import IdTable
from hsnn.trainer.rowstore.byte_strings import Packed
from hsnn.trainer.rowstore.table import Table, Texts

if TYPE_CHECKING:
    from hsnn.trainer.training.learner import Learner

_encode = msgspec.msgpack.Encoder().encode


def tables_of(learner: Learner) -> list[Table]:
    """Name the tables of a learner."""
    items, users = partial(len, learner.items), partial(len, learner.users)
    network, replay = learner.network, learner.replay
    tables = [
        _table("states", learner.states, ("values", "last", "first"), items),
        _table("frequency", learner.frequency, ("counts", "seen"), items),
        _table(
            "items",
            learner.items,
            ("tokens", "expires_at", "deleted"),
            items,
            {
                "items.features": partial(_features, learner.items),
            },
        ),
        _ids("items.ids", learner.items.table),
        _ids("users.ids", learner.users.table),
        _table("covisitation", learner.covisitation, ("neighbours", "weights", "totals", "last"), items),
        _table("leaves", learner.leaves, ("node_of", "log_mass"), items),
        _table("network.items", network.items.ids, ("weight", "accumulator"), items),
        _fixed("network.content", network.items.content, ("weight", "accumulator")),
        _fixed("network.features", network.features, ("weight", "accumulator")),
        _table("histories", learner.histories, ("items", "times"), users),
        _table("users", learner.users, ("tokens",), users),
        Table(
            "replay",
            {f"replay.{name}": partial(replay.arrays.__getitem__, name) for name in replay.arrays},
            {},
            partial(len, replay),
            replay.barrier,
        ),
    ]
    if learner.config.model.tasks:
        tables.append(_table("lagged", learner.lagged.states, ("values", "last", "first"), items))
    if learner.lodging is not None:
        for name, tenancy in (("items", learner.lodging.items), ("users", learner.lodging.users)):
            tables.append(_table(f"lodging.{name}", tenancy, ("seen",), partial(len, tenancy.table)))
    return tables


def _table(
    name: str,
    part: Any,
    attributes: tuple[str, ...],
    count: Callable[[], int],
    texts: Mapping[str, Texts] | None = None,
) -> Table:
    columns = {f"{name}.{attribute}": partial(getattr, part, attribute) for attribute in attributes}
    return Table(name, columns, texts or {}, count, part.barrier)


def _fixed(name: str, part: Any, attributes: tuple[str, ...]) -> Table:
    """Name a table all of whose rows are in use."""
    return _table(name, part, attributes, lambda: len(getattr(part, attributes[0])))


def _ids(name: str, table: IdTable) -> Table:
    def texts(rows: NDArray[np.integer]) -> Packed:
        blob, lengths = table.ids.packed(rows)
        return Packed(blob, lengths.astype(np.int32))

    return Table(name, {}, {f"{name}.texts": texts}, partial(len, table), table.barrier)


def _features(catalogue: Any, rows: NDArray[np.integer]) -> Packed:
    features = catalogue.features
    return Packed.of([_encode(features[row]) for row in rows.tolist()])
