"""A learner's state as arrays and plain values, and back: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.rowstore.arrays import Array, select_prefix
from hsnn.trainer.rowstore.byte_strings import byte_string_arrays, read_byte_strings
from hsnn.trainer.rowstore.id_table import IdTable
from hsnn.trainer.training.commands import apply_rates
from hsnn.trainer.training.row_recycling import vacant
from hsnn.trainer.training.state import CommandedState, LearnerState


def state_dict(state: LearnerState) -> tuple[dict[str, Array], dict[str, Any]]:
    """Copy everything that training depends on: arrays, named by part and attribute, and plain values."""
    arrays = dense_arrays(state)()
    for table in state.tables:
        rows = table.rows()
        arrays |= {name: column[:rows].copy() for name, column in table.columns().items()}
        for name, texts in table.texts.items():
            arrays |= byte_string_arrays(name, texts(np.arange(rows)))
    return arrays, plain_values(state)


def dense_arrays(state: LearnerState) -> Callable[[], dict[str, Array]]:
    """Copy the arrays that are in no table: dense weights, optimiser, sums, ids without a row, delayed engagements.

    The call of what is returned puts them together, in any thread, at any time.
    """
    parts = _prefixed("network", state.network.state_dict()) | _prefixed("half_lives", state.half_lives.state_dict())
    parts |= _prefixed("item_passes", state.passes.state_dict())
    parts |= _prefixed("value_ranks", state.feedback.ranks.state_dict())
    parts["inverted_lists.mass"] = state.leaves.state_dict()["mass"]
    if state.recycler is not None:
        parts |= _prefixed("row_recycling", state.recycler.state_dict())
    copied: dict[str, Array] = {name: np.array(array) for name, array in parts.items()}
    if not state.config.model.tasks:
        return lambda: copied
    waiting = state.delayed_counters.pending_arrays()
    return lambda: copied | _prefixed("delayed_counters", waiting())


def plain_values(state: LearnerState) -> dict[str, Any]:
    """Return the plain values: counters, and what the arrays are of."""
    return {
        "events": state.events,
        "positives": state.positives,
        "steps": state.steps,
        "watermark": state.watermark,
        "origin": state.origin,
        "half_life": state.half_life,
        "last_batch": state.last_batch,
        "half_lives_time": state.half_lives.time,
        "inverted_lists_shift": float(state.leaves.state_dict()["shift"]),
        "replay_seen": state.replay.seen,
        "replay_size": state.replay.size,
        "seed": state.config.seed,
        "index_learner": state.config.index.learner,
        "items": len(state.items),
        "users": len(state.users),
        "commanded": state.commanded.to_dict(),
        "announced_only": state.items.announced_only,
        "departures": state.departures.state_dict(),
        "index_recall": [state.index_recall.hits, state.index_recall.probes],
    }


def load_state_dict(state: LearnerState, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
    """Give a new learner the state that `state_dict` copied.

    Raises
    ------
    RuntimeError
        The arrays belong to a model of another shape.
    CheckpointError
        Another index learner made the index; where it wants the items to be, this one does not look.
    """
    made_by, configured = values["index_learner"], state.config.index.learner
    if made_by != configured:
        raise CheckpointError(
            f"the index was learned by trainer.index.learner = {made_by}, not {configured}; "
            f"use {made_by} again, or another trainer.checkpoint_dir to start from nothing"
        )
    _load_ids(state, arrays, values["watermark"])
    features = read_byte_strings(arrays, "items.features").to_list()
    state.items.features = [msgspec.msgpack.decode(blob) for blob in features]
    state.network.load_state_dict(select_prefix(arrays, "network."))
    state.half_lives.load_state_dict(select_prefix(arrays, "half_lives."))
    if passes := select_prefix(arrays, "item_passes."):  # older checkpoints know of none
        state.passes.load_state_dict(passes)
    same_ring = values["replay_size"] == state.replay.size  # else it starts empty: its places mean something else
    state.feedback.ranks.load_state_dict(select_prefix(arrays, "value_ranks."))
    for table in state.tables:
        if table.data is not state.replay or same_ring:
            table.load(arrays)
    if "memory.entries:lengths" in arrays:  # a checkpoint from before there was a memory: it starts empty
        entries = read_byte_strings(arrays, "memory.entries")
        state.memory.set_rows(np.arange(len(entries.lengths)), entries)
    _load_values(state, values)
    if same_ring:
        state.replay.seen = values["replay_seen"]
    if state.config.model.tasks:
        state.delayed_counters.load_state_dict(select_prefix(arrays, "delayed_counters."))
    state.reserve()
    state.leaves.load_state_dict(
        {"mass": arrays["inverted_lists.mass"], "shift": np.array(values["inverted_lists_shift"])}
    )
    apply_rates(state)


def _load_values(state: LearnerState, values: Mapping[str, Any]) -> None:
    state.events, state.positives, state.steps = values["events"], values["positives"], values["steps"]
    state.watermark, state.origin = values["watermark"], values["origin"]
    state.half_life, state.last_batch = values["half_life"], values["last_batch"]
    state.half_lives.time = values["half_lives_time"]
    state.update_popularity()
    state.index_recall.hits, state.index_recall.probes = values.get("index_recall", (0.0, 0.0))
    state.items.follow_authority(bool(values.get("announced_only")))
    state.commanded = CommandedState(**values.get("commanded", {}))  # older checkpoints know of no commands
    if "departures" in values:
        state.departures.load_state_dict(values["departures"])
    else:  # an older checkpoint, of when they followed the watermark
        state.departures.now = state.watermark


def _load_ids(state: LearnerState, arrays: Mapping[str, Array], watermark: int) -> None:
    """Load the id tables, and which of their rows are given up; `watermark` is the checkpoint's, epoch ms.

    Limits may come and go between two runs. Where there are new ones, all ids count as seen just now; where there are
    none any more, the rows that were given up must still be known.
    """
    saved = select_prefix(arrays, "row_recycling.")
    if saved and state.recycler is None:
        state.add_recycler()
    for part, table in (("items", state.items.table), ("users", state.users.table)):
        _load_id_table(table, arrays, part, saved)
    if state.recycler is None:
        return
    if saved:
        state.recycler.load_state_dict(saved)
    else:
        state.recycler.adopt(watermark)


def _load_id_table(table: IdTable, arrays: Mapping[str, Array], part: str, saved: Mapping[str, Array]) -> None:
    texts = read_byte_strings(arrays, f"{part}.ids.texts")
    starts = np.cumsum(texts.lengths, dtype=np.int64) - texts.lengths
    columns: dict[str, Array] = {"bytes": texts.bytes, "starts": starts, "lengths": texts.lengths.astype(np.uint16)}
    table.load_state_dict(columns, vacant(saved, part))


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}
