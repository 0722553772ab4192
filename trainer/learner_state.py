"""A learner as arrays and plain values, and back: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.arrays import Array
from trainer.errors import CheckpointError
from trainer.lodging import ids_state, restore_ids
from trainer.steering import steer

if TYPE_CHECKING:
    from trainer.learner import Learner

_COUNTERS = ("events", "positives", "steps", "watermark", "origin", "half_life", "_last_batch")
_BY_ITEM = (
    "states.values", "states.last", "states.first", "frequency.counts", "frequency.seen",
    "items.tokens", "items.expires_at", "items.deleted",
    "covisitation.neighbours", "covisitation.weights", "covisitation.totals", "covisitation.last",
)  # fmt: skip
_BY_USER = ("histories.items", "histories.times", "users.tokens")
_WHOLE = ("half_lives.loss", "half_lives.totals")


def state_of(learner: Learner) -> tuple[dict[str, Array], dict[str, Any]]:
    """Copy everything that training depends on: arrays, named by part and attribute, and plain values."""
    items, users = len(learner.items), len(learner.users)
    parts: dict[str, Array] = {f"network.{name}": array for name, array in learner.network.state().items()}
    for names, rows in ((_BY_ITEM, items), (_BY_USER, users), (_WHOLE, None)):
        parts |= {name: _get(learner, name)[:rows] for name in names}
    mass, shift = learner.leaves.sums()
    parts |= {
        "leaves.node_of": learner.leaves.node_of[:items], "leaves.log_mass": learner.leaves.log_mass[:items],
        "leaves.mass": mass,
    }  # fmt: skip
    parts |= ids_state(learner)
    parts |= {f"replay.{name}": array[: len(learner.replay)] for name, array in learner.replay.arrays.items()}
    if learner.config.model.tasks:
        parts |= {f"lagged.{name}": array for name, array in learner.lagged.state(items).items()}
    values = {name: getattr(learner, name) for name in _COUNTERS} | {
        "half_lives_time": learner.half_lives.time, "leaves_shift": shift, "replay_seen": learner.replay.seen,
        "replay_size": learner.replay.size,
        "seed": learner.config.seed, "index_learner": learner.config.index.learner,
        "items": items, "users": users, "features": list(learner.items.features),
        "steering": learner.steering.state(),
    }  # fmt: skip
    return {name: np.array(array) for name, array in parts.items()}, values


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
    learner.items.features = list(values["features"])
    prefix = "network."
    learner.network.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
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
        prefix = "lagged."
        learner.lagged.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
    learner.reserve()
    learner.leaves.restore(
        arrays["leaves.node_of"], arrays["leaves.log_mass"], arrays["leaves.mass"], values["leaves_shift"]
    )


def _get(learner: Learner, name: str) -> Array:
    part, _, attribute = name.partition(".")
    array: Array = getattr(getattr(learner, part), attribute)
    return array
