"""What monitoring gets to see of a batch: gathered before it is learned, completed by the step's report."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from hsnn.monitoring.observation import FeedFigures, ModelFigures, Observation
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.optim.gradient_guard import StepKind
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import PreparedBatch, StepReport

# Items whose vectors are compared with those of their nodes: the standard error of their mean cosine is about 0.01.
_COMPARED = 64

Completion = Callable[[StepReport], Observation | None]
"""Makes the observation from the report of the step; None for a batch without examples."""

# Items of a batch whose features are counted, at most: a mapping is read for each.
_DESCRIBED = 128


def begin_observation(learner: Learner, batch: Batch, prepared: PreparedBatch) -> Completion:
    """Gather what the step is about to change: counters, users' memory; to be called between `prepare` and `train`."""
    if not len(prepared.items):
        return lambda report: None  # noqa: ARG005
    states, rows = learner.states, prepared.items
    unseen = np.asarray(~states.values[rows].any(axis=1), np.bool_)
    new_users = np.asarray((prepared.queries.history_items < 0).all(axis=1), np.bool_)
    repeated = np.asarray((prepared.memory.items == rows[:, None]).any(axis=1), np.bool_)
    features, first_seen, optimizer = learner.items.features, states.first[rows], learner.network.optimizer
    optimizer.moved = 0.0  # not a difference of sums: its last bits would depend on when the process began

    def complete(report: StepReport) -> Observation:
        guard, recall = optimizer.guard, learner.index_recall
        labels, probabilities = prepared.judged, report.probabilities
        known = labels is not None and probabilities is not None and probabilities.shape == labels.labels.shape
        none = np.zeros((0, 0), np.float32)
        model = ModelFigures(
            loss=report.loss,
            popularity_loss=report.popularity_loss,
            gradient_norm=float(guard.last[StepKind.BATCH]),
            step_size=optimizer.moved if report.events or report.refused else float("nan"),
            ranks=np.zeros(0, np.float32) if report.ranks is None else report.ranks,
            index_recall=recall.hits / recall.probes if recall.probes else float("nan"),
            sources=np.zeros(0, np.uint8) if report.sources is None else report.sources,
            assigned=report.assigned,
            moved=report.moved,
            labels=labels.labels if known and labels is not None else none,
            probabilities=probabilities if known and probabilities is not None else none,
        )
        step = -(-len(rows) // _DESCRIBED)
        return Observation(
            ts=int(prepared.ts.max()),
            model=model,
            events=report.events,
            unsafe=report.unsafe,
            items=rows,
            users=prepared.users,
            new_users=new_users,
            unseen_items=unseen,
            repeated=repeated,
            first_seen=first_seen,
            event_ts=batch.engagements.ts,
            sent_at=batch.engagements.sent_at,
            actions=batch.engagements.action,
            values=batch.engagements.value,
            contexts=batch.engagements.context,
            item_features=[features[row] for row in rows[::step].tolist()],
            feed=_feed_figures(prepared),
            node_of=learner.leaves.node_of[: len(learner.items)],
            node_sizes=learner.leaves.sizes,
            node_vectors=lambda: _node_vectors(learner),
            node_cosines=lambda: _node_cosines(learner),
            mean_user=lambda: learner.network.monn.mean_user.numpy().copy(),
            dropped=batch.dropped,
            letter_reasons=batch.letter_reasons,
            dead_lettered=batch.dead_lettered,
            late_actions=batch.late_actions,
            watermark=batch.watermark,
            commands=len(batch.control),
        )

    return complete


def _node_vectors(learner: Learner) -> NDArray[np.float32]:
    """Compute the vectors (K, d) of the leaves, without their bias."""
    hierarchy = learner.network.monn.levels.hierarchy
    with torch.no_grad():
        vectors: NDArray[np.float32] = hierarchy.node_vectors(len(hierarchy) - 1)[:, :-1].numpy()
    return vectors


def _node_cosines(learner: Learner) -> NDArray[np.float32]:
    """Compute the cosines of items with the vectors of their nodes, of every so many-th item that has one."""
    node_of = learner.leaves.node_of[: len(learner.items)]
    rows = np.flatnonzero(node_of >= 0).astype(np.int64)
    rows = rows[:: -(-len(rows) // _COMPARED) or 1]
    return learner.network.node_cosines(rows, learner.items.tokens, node_of[rows])


def _feed_figures(prepared: PreparedBatch) -> FeedFigures:
    living = [item for item in prepared.feed if not item.deleted]
    return FeedFigures(
        changed=len(living),
        deleted=len(prepared.feed) - len(living),
        featureless=sum(not item.features for item in living),
    )
