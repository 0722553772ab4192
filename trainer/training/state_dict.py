"""A learner as arrays and plain values, and back: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.rowstore.arrays import Array, select_prefix
from hsnn.trainer.rowstore.byte_strings import named_texts, texts_in
from hsnn.trainer.training.commands import steer
from hsnn.trainer.training.row_recycling import restore_ids
from hsnn.trainer.training.tables import tables_of

if TYPE_CHECKING:
    from hsnn.trainer.training.learner import Learner

_COUNTERS = ("events", "positives", "steps", "watermark", "origin", "half_life", "_last_batch")
_BY_ITEM = (
    "states.values",
    "states.last",
    "states.first",
    "frequency.counts",
    "frequency.seen",
    "items.tokens",
    "items.expires_at",
    "items.deleted",
    "covisitation.neighbours",
    "covisitation.weights",
    "covisitation.totals",
    "covisitation.last",
)
_BY_USER = ("histories.items", "histories.times", "users.tokens")
_WHOLE = ("half_lives.loss", "half_lives.totals")


def state_of(learner: Learner) -> tuple[dict[str, Array], dict[str, Any]]:
    """Copy everything that training depends on: arrays, named by part and attribute, and plain values."""
    arrays = small_of(learner)()
    for table in tables_of(learner):
        rows = table.rows()
        arrays |= {name: column()[:rows].copy() for name, column in table.columns.items()}
        for name, texts in table.texts.items():
            arrays |= named_texts(name, texts(np.arange(rows)))
    return arrays, values_of(learner)


def small_of(learner: Learner) -> Callable[[], dict[str, Array]]:
    """Copy the arrays that are no tables: dense weights, optimiser, sums, ids, and what waits to be counted late.

    The call of what is returned puts them together, in any thread, at any time.
    """
    parts: dict[str, Array] = {f"network.{name}": array for name, array in learner.network.dense().items()}
    parts |= {name: _get(learner, name) for name in _WHOLE}
    parts["leaves.mass"] = learner.leaves.sums()[0]
    if learner.lodging is not None:
        parts |= {f"lodging.{name}": array for name, array in learner.lodging.state().items()}
    copied: dict[str, Array] = {name: np.array(array) for name, array in parts.items()}
    if not learner.config.model.tasks:
        return lambda: copied
    waiting = learner.lagged.waiting()
    return lambda: copied | {f"lagged.{name}": array for name, array in waiting().items()}


def values_of(learner: Learner) -> dict[str, Any]:
    """Plain values: counters, and what the arrays are of."""
    return {name: getattr(learner, name) for name in _COUNTERS} | {
        "half_lives_time": learner.half_lives.time,
        "leaves_shift": learner.leaves.sums()[1],
        "replay_seen": learner.replay.seen,
        "replay_size": learner.replay.size,
        "seed": learner.config.seed,
        "index_learner": learner.config.index.learner,
        "items": len(learner.items),
        "users": len(learner.users),
        "steering": learner.steering.state(),
    }


def put_state(learner: Learner, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
    """Give a fresh learner the state that `state_of` copied.

    Raises
    ------
    RuntimeError
        The arrays belong to a model of another shape.
    CheckpointError
        Another learner made the index; where it wants the items to be, this one does not look.
    """
    made_by, own = values["index_learner"], learner.config.index.learner
    if made_by != own:
        raise CheckpointError(
            f"the index was learned by trainer.index.learner = {made_by}, not {own}; "
            f"use {made_by} again, or another trainer.checkpoint_dir to start from nothing"
        )
    restore_ids(learner, arrays, values["watermark"])
    learner.items.features = [msgspec.msgpack.decode(blob) for blob in texts_in(arrays, "items.features").split()]
    learner.network.restore(select_prefix(arrays, "network."))
    for name in (*_BY_ITEM, *_BY_USER, *_WHOLE):
        part, _, attribute = name.partition(".")
        setattr(getattr(learner, part), attribute, arrays[name].copy())
    for name in _COUNTERS:
        setattr(learner, name, values[name])
    if values["replay_size"] == learner.replay.size:  # else the ring starts empty: its places mean something else
        for name, array in learner.replay.arrays.items():
            saved = arrays[f"replay.{name}"]
            array[: len(saved)] = saved
        learner.replay.seen = values["replay_seen"]
    learner.half_lives.time = values["half_lives_time"]
    learner.steering.restore(values.get("steering", {}))  # older checkpoints know of no commands
    steer(learner)
    if learner.config.model.tasks:
        learner.lagged.restore(select_prefix(arrays, "lagged."))
    learner.reserve()
    learner.leaves.restore(
        arrays["leaves.node_of"], arrays["leaves.log_mass"], arrays["leaves.mass"], values["leaves_shift"]
    )


def _get(learner: Learner, name: str) -> NDArray[np.generic]:
    part, _, attribute = name.partition(".")
    array: NDArray[np.generic] = getattr(getattr(learner, part), attribute)
    return array
