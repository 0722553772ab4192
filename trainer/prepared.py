"""What goes into a training step and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    loss: float
    node_loss: float
    events: int
    unsafe: int = 0


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
    """

    items: NDArray[np.int64]
    users: NDArray[np.int64]
    ts: NDArray[np.int64]
    weights: NDArray[np.float32]
    queries: Queries
    feed: list[FeedItem]
    contexts: Sequence[dict[str, Scalar] | None]
    watermark: int
