"""What goes into a training step and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.events import Scalar
from trainer.queries import Queries
from trainer.wire import FeedItem


class StepReport(NamedTuple):
    """One step's account.

    Attributes
    ----------
    loss, node_loss : float
        Of the batch before it was learned, nats; NaN for a batch without events.
    events : int
        Interactions learned.
    unsafe : int
        Interactions left out because their loss was not finite; the step changed nothing then.
    chances : (J, A) float32 or None
        Probabilities that were given to the labels of `Prepared.judged` before they were learned.
    """

    loss: float
    node_loss: float
    events: int
    unsafe: int = 0
    chances: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Items that were shown to people, and what became of them: J pairs, A tasks.

    Attributes
    ----------
    queries : Queries
        Of the moments when they were shown.
    items : (J,) int64
    labels : (J, A) float32
    task_weights : (A,) float32
    states : (J, F) float32
        State features of the items.
    cross : (J, C) float32 or None
    """

    queries: Queries
    items: NDArray[np.int64]
    labels: NDArray[np.float32]
    task_weights: NDArray[np.float32]
    states: NDArray[np.float32]
    cross: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch as rows, with each event's history just before it.

    Attributes
    ----------
    items, users, ts : (n,) int64
    weights : (n,) float32
    queries : Queries
        What a server would be asked just before each event.
    feed : list of FeedItem
        New, changed and deleted items.
    contexts : n mappings or None
        As they came, for asking a server.
    watermark : int
        Epoch ms.
    judged : Judged or None
        Items that were shown, with what became of them.
    at : (n,) int64
        Place of each lesson among the batch's interactions. The others are repeats of the one before: labels only.
    events : int
        Interactions of the batch.
    """

    items: NDArray[np.int64]
    users: NDArray[np.int64]
    ts: NDArray[np.int64]
    weights: NDArray[np.float32]
    queries: Queries
    feed: list[FeedItem]
    contexts: Sequence[dict[str, Scalar] | None]
    watermark: int
    judged: Judged | None = None
    at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    events: int = 0
