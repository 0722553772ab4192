"""Record what the signals look at: real streams, counted alone or learned by a real model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from hsnn.evaluation.harness.dataset_config import join_config
from hsnn.monitoring.observation import FeedFigures, ModelFigures, Observation
from hsnn.streaming.datasets import Dataset
from hsnn.streaming.schema.batch import Batch
from hsnn.streaming.schema.commands import Command
from hsnn.streaming.schema.events import Item
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.online.observation import begin_observation
from hsnn.trainer.training.learner import Learner

Change = Callable[[int, Sequence[str]], Sequence[str]]
"""Changes the items of a batch, by the number of events before it."""

Commands = Callable[[int], Sequence[Command]]
"""Commands to the trainer before a batch, by the number of events before it."""

Damage = Callable[[int, Learner], None]
"""Changes a learner before a batch, by the number of events before it."""

# Milliseconds between event and sending: data sets have no time of sending, so that it is drawn.
_SEND_DELAY = (50, 500)


def record(
    data: Dataset,
    events: int,
    seed: int,
    *,
    model: bool,
    change: Change | None = None,
    commands: Commands = lambda before: (),  # noqa: ARG005
    damage: Damage = lambda before, learner: None,  # noqa: ARG005
) -> Iterator[Observation]:
    """Yield the observations of the first events of a data set, in batches of 512.

    Parameters
    ----------
    model
        Learn the batches; otherwise users and items are only counted, and the signals of the model have no value.
    change
        Planted into the stream before it is learned.
    commands
        Carried out by the trainer.
    damage
        Done to the trainer.
    """
    config = TrainerConfig(seed=seed)
    learner, counter, rng, before = Learner(config), _Counter(), np.random.default_rng([seed, 7]), 0
    for batch in data.batches(512, join_config(config)):
        if before >= events:
            return
        log = batch.engagements
        sent = log.ts + rng.integers(*_SEND_DELAY, len(log))
        batch = replace(
            batch,
            engagements=replace(log, sent_at=sent, item=log.item if change is None else change(before, log.item)),
            control=[msgspec.json.encode(command) for command in commands(before)],
        )
        before += len(log)
        if not model:
            yield counter.observe(batch)
            continue
        damage(before - len(log), learner)
        prepared = learner.prepare(batch)
        complete = begin_observation(learner, batch, prepared)
        seen = complete(learner.train(prepared))
        learner.discard_delta()
        if seen is not None:
            yield replace(seen, node_of=seen.node_of.copy(), node_sizes=seen.node_sizes.copy())


class _Counter:
    """Counts users and items by row, as the trainer does before it learns."""

    def __init__(self) -> None:
        self._items: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._first: list[int] = []  # event time of each item's first event, epoch ms

    def observe(self, batch: Batch) -> Observation:
        """Make the observation of a batch without a model."""
        log, items, users = batch.engagements, self._items, self._users
        known_items, known_users = len(items), len(users)
        rows = np.array([items.setdefault(item, len(items)) for item in log.item], np.int64)
        by = np.array([users.setdefault(user, len(users)) for user in log.user], np.int64)
        first_seen = np.array(self._first + [0] * (len(items) - known_items), np.int64)[rows]
        self._first += [int(log.ts[0])] * (len(items) - known_items)
        described = [item for item in batch.items if isinstance(item, Item)]
        return Observation(
            ts=int(log.ts.max()),
            model=ModelFigures(loss=float("nan")),
            events=len(log),
            items=rows,
            users=by,
            new_users=by >= known_users,
            unseen_items=rows >= known_items,
            first_seen=first_seen,
            event_ts=log.ts,
            sent_at=log.sent_at,
            actions=log.action,
            values=log.value,
            contexts=log.context,
            feed=FeedFigures(
                changed=len(described),
                deleted=len(batch.items) - len(described),
                featureless=sum(not item.features for item in described),
            ),
            dropped=batch.dropped,
            late_actions=batch.late_actions,
            watermark=batch.watermark,
        )
