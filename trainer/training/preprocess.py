"""From a batch to rows: what a learner does with a batch before it learns from it.

Item and user events are applied, ids become rows, commands are carried out, histories are extended. Impressions whose
outcome is known come an attribution window after they were shown; what the user did since must not be seen, or the
answer would be in the question: histories are cut at the time of the impression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.batch import Batch, Engagements, LabelledImpressions
from hsnn.streaming.schema.events import Item, ItemDeletion, ItemEvent, Scalar
from hsnn.streaming.schema.item_life import KnownItem, LifeOutcome, apply_event, needs_restatement
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.catalogue import EventTimes, ItemTable, UserTable
from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.cross_features import CROSS_FEATURES, MATCHES
from hsnn.trainer.features.exclusion import excluded_items
from hsnn.trainer.features.feedback.event_weights import EventWeights
from hsnn.trainer.features.hashing import hash_features, pad_tokens
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.features.user_memory import action_slots
from hsnn.trainer.metrics import ITEM_EVENTS, UNANNOUNCED
from hsnn.trainer.modules.cross_inputs import cross_features
from hsnn.trainer.optim.batch import LabelledItems
from hsnn.trainer.training.commands import apply_commands
from hsnn.trainer.training.prepared import Dislikes, PreparedBatch
from hsnn.trainer.training.state import LearnerState

_CHUNK = 64
"""Impressions whose cross features are computed at once: each is scored against the items of all of them."""


def prepare_batch(state: LearnerState, batch: Batch) -> PreparedBatch:
    """Turn ids into rows, apply item and user events and commands, extend histories."""
    if state.recycler is not None:
        state.recycler.begin_batch(max(state.watermark, batch.watermark), len(batch.engagements))
    side = apply_side_events(batch, state.items, state.users)
    events = batch.engagements
    rows, new = state.items.rows(events.item)
    signs = first_signs(events, rows, new) | side.items.touched
    users = state.users.rows(events.user)
    judged_items, judged_users = _judged_rows(state, batch.labelled_impressions)
    if state.recycler is not None:
        signs = state.recycler.drain_retired(batch.watermark) | signs
    state.reserve()
    state.watermark = max(state.watermark, batch.watermark)
    state.origin = state.origin or state.watermark
    for row, sign in signs.items():
        state.states.mark_first_seen([row], sign.ts)
        if state.config.model.tasks:
            state.delayed_counters.mark_first_seen(row, sign.ts)
    _mark_described(state, side.items.signs)
    state.departures.note_changed(np.fromiter(signs, np.int64, len(signs)))
    state.let_items_leave()
    state.forget_users(side.deleted_users)
    state.dirty_items.add(list(signs))
    state.dirty_users.add(side.users)
    apply_commands(state, batch.control)
    has_row = rows >= 0
    if state.items.announced_only:
        UNANNOUNCED.inc(int(np.count_nonzero(state.items.described_at[rows[has_row]] == 0)))
    event_weights = state.feedback.read(events, users, rows)
    slots = action_slots(list(events.action))
    dislikes = _dislikes(state, events, users, rows=rows, event_weights=event_weights, slots=slots)
    kept = np.flatnonzero(~events.repeat & ~event_weights.disliked & has_row)
    rows, users, ts = rows[kept], users[kept], events.ts[kept]
    contexts = [events.context[index] for index in kept.tolist()]
    before = state.histories.extend(users, rows, ts)
    queries = QueryArrays(*before, state.users.tokens_of(users), context_tokens(state.config.model, contexts), ts)
    memory = state.memory.gather(users, ts)
    return PreparedBatch(
        items=rows,
        users=users,
        ts=ts,
        weights=event_weights.weights[kept],
        counted=event_weights.counted[kept],
        undamped=event_weights.undamped[kept],
        actions=slots[kept],
        memory=memory,
        excluded=excluded_items(state.exclusion, *before, memory=memory, now=ts),
        queries=queries,
        feed=[state.items.feed_item(row, sign) for row, sign in signs.items()],
        contexts=contexts,
        watermark=batch.watermark,
        judged=_judged(state, batch.labelled_impressions, judged_items, judged_users),
        indices=kept,
        events=int(np.count_nonzero(has_row)),
        rowless=int(np.count_nonzero(~has_row)),
        unknown_users={index: events.user[kept[index]] for index in np.flatnonzero(users < 0).tolist()},
        dislikes=dislikes,
        restated=side.items.restated,
    )


def _mark_described(state: LearnerState, signs: Sequence[tuple[int, int]]) -> None:
    """Count descriptions as signs of life: an item that is announced again is not idle."""
    if signs:
        rows, ts = np.array(signs, np.int64).T
        state.states.add_engagements(rows, ts, np.zeros(len(rows), np.float32))


def _dislikes(
    state: LearnerState,
    events: Engagements,
    users: NDArray[np.int64],
    *,
    rows: NDArray[np.int64],
    event_weights: EventWeights,
    slots: NDArray[np.uint8],
) -> Dislikes | None:
    """Make the examples against items, with the histories as of the batch's beginning; None where there are none.

    A disliked item does not enter the history: the model takes what is there for what the user likes.
    """
    kept = np.flatnonzero(event_weights.disliked & (event_weights.weights > 0) & (rows >= 0))
    if not len(kept):
        return None
    users, ts = users[kept], events.ts[kept]
    contexts = context_tokens(state.config.model, [events.context[index] for index in kept.tolist()])
    before = histories_at(state.histories, users, ts)
    queries = QueryArrays(*before, state.users.tokens_of(users), contexts, ts)
    return Dislikes(
        queries=queries,
        items=rows[kept],
        users=users,
        ts=ts,
        weights=event_weights.weights[kept],
        undamped=event_weights.undamped[kept],
        actions=slots[kept],
    )


def context_tokens(model: ModelConfig, contexts: Sequence[dict[str, Scalar] | None]) -> NDArray[np.int32]:
    """Hash n context mappings to tokens, (n, X)."""
    places: dict[int, int] = {}  # those of a data set are shared by many events
    index = [places.setdefault(id(context), len(places)) for context in contexts]
    distinct = {id(context): context for context in contexts}
    tokens = [hash_features(context, model.buckets, model.context_tokens) for context in distinct.values()]
    return pad_tokens(tokens, model.context_tokens)[index]


def _judged_rows(state: LearnerState, impressions: LabelledImpressions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of items and users of labelled impressions, none where there are no tasks."""
    if not state.config.model.tasks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    limited = state.recycler is not None  # an item that was refused when it was shown is not let in by this
    items = state.items.table.find(impressions.item) if limited else state.items.rows(impressions.item)[0]
    return items, state.users.rows(impressions.user)


def _judged(
    state: LearnerState, impressions: LabelledImpressions, items: NDArray[np.int64], users: NDArray[np.int64]
) -> LabelledItems | None:
    """Turn labelled impressions into examples; None where there are none."""
    if (items < 0).any():
        impressions, users, items = impressions.select(np.flatnonzero(items >= 0)), users[items >= 0], items[items >= 0]
    if not len(items):
        return None
    before = histories_at(state.histories, users, impressions.ts)
    contexts = context_tokens(state.config.model, impressions.context)
    queries = QueryArrays(*before, state.users.tokens_of(users), contexts, impressions.ts)
    weights = [state.config.action_weights.get(task, 1.0) for task in state.config.model.tasks]
    state.delayed_counters.advance(int(impressions.ts.min()))
    states = state.delayed_counters.states.features(items, impressions.ts)
    cross = None
    if state.config.model.cross:
        cross = pair_cross_features(queries, state.items.tokens, items, state.covisitation)
    return LabelledItems(queries, items, impressions.labels, np.array(weights, np.float32), states=states, cross=cross)


def histories_at(
    histories: UserHistories, users: NDArray[np.integer], ts: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Histories (J, L) of `users` (J,) as they were before `ts` (J,), as far as they are still known; newest last.

    Examples
    --------
    >>> histories = UserHistories(length=3)
    >>> _ = histories.extend(np.array([0, 0, 0]), np.array([7, 8, 9]), np.array([10, 20, 30]))
    >>> histories_at(histories, np.array([0]), np.array([30]))[0].tolist()
    [[-1, 7, 8]]
    """
    items, times = histories.gather(users)
    later = (times >= ts[:, None]) | (items < 0)
    items[later], times[later] = -1, 0
    order = np.argsort(~later, axis=1, kind="stable")  # what is left moves to the end
    return np.take_along_axis(items, order, 1), np.take_along_axis(times, order, 1)


def pair_cross_features(
    queries: QueryArrays, tokens: NDArray[np.int32], items: NDArray[np.int64], pairs: Covisitation
) -> NDArray[np.float32]:
    """Cross features (J, C) of each query and the item of `items` (J,) that was shown.

    Co-visitation is left at zero: by now it has counted the very action that is the label.
    """
    out = np.empty((len(items), CROSS_FEATURES), np.float32)
    for start in range(0, len(items), _CHUNK):
        part = slice(start, start + _CHUNK)
        candidates, columns = np.unique(items[part], return_inverse=True)
        chunk = queries.select(part)
        out[part] = cross_features(chunk, tokens, candidates, pairs)[np.arange(len(columns)), columns]
    out[:, MATCHES:] = 0
    return out


class ItemChanges(NamedTuple):
    """What a batch's events about items changed.

    Attributes
    ----------
    touched : row -> EventTimes
        In order of first touch.
    signs : (row, epoch ms)
        Descriptions: an item is alive when it is described.
    restated : (id, record)
        Items that have to be appended to the items topic again.
    """

    touched: dict[int, EventTimes]
    signs: list[tuple[int, int]]
    restated: list[tuple[str, KnownItem]]


class SideEventRows(NamedTuple):
    """Rows that a batch's side events touched.

    Attributes
    ----------
    items : ItemChanges
    users : (n,) int64
        Described or deleted.
    deleted_users : (m,) int64
    """

    items: ItemChanges
    users: NDArray[np.int64]
    deleted_users: NDArray[np.int64]


def apply_side_events(batch: Batch, items: ItemTable, users: UserTable) -> SideEventRows:
    """Apply a batch's item, user and deletion events and shown items.

    Deleting what is not known changes nothing.
    """
    described = users.rows([str(user.id) for user in batch.users], described=True)
    for row, user in zip(described.tolist(), batch.users, strict=True):
        if row >= 0:
            users.describe(row, user)
    deleted = _known(users.table.find(batch.deleted_users))
    users.clear(deleted)
    users.forget(batch.deleted_users)
    return SideEventRows(_apply_items(batch, items), np.r_[_known(described), deleted], deleted)


def first_signs(events: Engagements, rows: NDArray[np.int64], new: NDArray[np.int64]) -> dict[int, EventTimes]:
    """Make the first sign of each of the `new` rows among the engagements' item `rows` (n,)."""
    if len(new) == 0:
        return {}
    candidates = np.flatnonzero(np.isin(rows, new))
    unique, first = np.unique(rows[candidates], return_index=True)
    index = candidates[first]
    times, sent = events.ts[index].tolist(), events.sent_at[index].tolist()
    return {row: EventTimes(*sign) for row, *sign in zip(unique.tolist(), times, sent, strict=True)}


def _apply_items(batch: Batch, items: ItemTable) -> ItemChanges:
    changes = ItemChanges({}, [], [])
    announced = [item.id for item in batch.items if isinstance(item, Item)]
    items.rows([str(name) for name in announced], described=True)
    held_back = items.require_announcement() if announced else np.zeros(0, np.int64)
    changes.touched.update(dict.fromkeys(held_back.tolist(), EventTimes(batch.watermark, 0)))
    rows = items.table.find([str(event.id) for event in batch.items]).tolist()
    for row, event, sent_at in zip(rows, batch.items, batch.item_sent_at, strict=True):
        _apply_item(items, row, event, sent_at, watermark=batch.watermark, changes=changes)
    items.report_held_back(held_back)
    shown, new = items.rows([name for name, _, _ in batch.seen_items])
    first = dict.fromkeys(new.tolist())
    for row, (_, ts, sent_at) in zip(shown.tolist(), batch.seen_items, strict=True):
        if row in first and row not in changes.touched:
            changes.touched[row] = EventTimes(ts, sent_at)
    return changes


def _apply_item(
    items: ItemTable, row: int, event: ItemEvent, sent_at: int, *, watermark: int, changes: ItemChanges
) -> None:
    """Apply one event about an item."""
    if row < 0:  # not known, or refused a row: there is nothing to change
        if not isinstance(event, ItemDeletion):
            ITEM_EVENTS.labels(LifeOutcome.UNKNOWN).inc()
        return
    before = items.record(row)
    record, outcome = apply_event(before, event)
    ITEM_EVENTS.labels(outcome).inc()
    if needs_restatement(record, event):
        changes.restated.append((items.table.ids[row], record))
    if outcome is not LifeOutcome.APPLIED:
        return
    if record != before or not record.announced:
        items.set_record(row, record)
    if record.announced:
        sign = min(record.ts, sent_at) if sent_at > 0 else record.ts
        changes.signs.append((row, sign))
        changes.touched[row] = EventTimes(sign, sent_at)
    else:
        changes.touched[row] = EventTimes(watermark, 0)


def _known(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[rows >= 0]
