"""What monitoring may look at of a trained batch: arrays and plain values, so that this room knows no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NO_ROWS: NDArray[np.int64] = np.zeros(0, np.int64)
_NO_NUMBERS: NDArray[np.float32] = np.zeros(0, np.float32)
_NO_FLAGS: NDArray[np.bool_] = np.zeros(0, np.bool_)


# Mappings of a batch whose texts are counted: a sample, since each is read on its own.
_SAMPLE = 48

# Characters of a text that is counted, at most.
_LONGEST = 40

_LISTS = (list, tuple)

NEIGHBOURS_NAME, MEMORY_NAMES = 1, 2
"""Flags of the sources of candidates beside the index: neighbours of the last items, and the user's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """What the step measured of the model before it learned the batch; NaN: not measured.

    Attributes
    ----------
    loss, popularity_loss : float
        Of the model, and of counting with the half-life that was best before, nats per event; of the same events.
    gradient_norm : float
    step_size : float
        Mean change of a dense weight by the batch's steps; 0 where all were refused.
    ranks : (n,) float32
        Share of the step's candidates that the model ranks above each event's item.
    index_recall : float
        Share of the items ranked high that the index yields.
    sources : (n,) uint8
        Sources beside the index that name each event's item, `NEIGHBOURS_NAME` and `MEMORY_NAMES` added up; empty
        where the step did not look.
    assigned, moved : int
        Items that had a node and were assigned anew, and those of them that another node was nearest to.
    labels, probabilities : (J, A) float32
        Of items that were shown.
    """

    loss: float
    popularity_loss: float = float("nan")
    gradient_norm: float = float("nan")
    step_size: float = float("nan")
    ranks: NDArray[np.float32] = field(default_factory=lambda: _NO_NUMBERS)
    index_recall: float = float("nan")
    sources: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    assigned: int = 0
    moved: int = 0
    labels: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    probabilities: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFigures:
    """Items of the batch that appeared or changed, and that were deleted; `featureless` of the former have none."""

    changed: int = 0
    deleted: int = 0
    featureless: int = 0


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A trained batch with events, for detectors and signals; all of it is a function of the log.

    Attributes
    ----------
    ts : int
        Newest event time of the batch, epoch ms.
    model : ModelFigures
    events, unsafe : int
        Interactions learned, and left out by the gradient guard.
    items, users : (n,) int
        Rows, one per example; a user without a row is -1.
    new_users, unseen_items, repeated : (n,) bool
        Whether the user had no history, the item no engagement, and the user's memory the item.
    first_seen : (n,) int64
        First sign of life of each of `items`, epoch ms; 0: this is it.
    event_ts, sent_at : (m,) int64
        Of all interactions of the batch, epoch ms of event time and of the producer's wall clock.
    actions : m texts
    values : (m,) float32
        NaN where the event had none.
    contexts : m mappings or None
    item_features : n mappings
        Of `items`.
    feed : FeedFigures
    node_of : (rows,) int32
        Node of each item now, -1 without one; read before the next batch, not kept.
    node_sizes : (K,) int64
    node_vectors : function
        Returns the vectors (K, d) of the nodes now; called at the end of a window, if at all.
    node_cosines : function
        Returns the cosines of a sample of items with their nodes' vectors; called as `node_vectors`.
    mean_user : function
        Returns the running mean (d,) of the users' vectors; called as `node_vectors`.
    dropped : reason -> events
    letter_reasons : reason -> dead letters
    dead_lettered, late_actions : int
    watermark : int
        Epoch ms.
    commands : int
        Commands of the control topic in this batch.
    """

    ts: int
    model: ModelFigures
    events: int = 0
    unsafe: int = 0
    items: NDArray[np.integer] = field(default_factory=lambda: _NO_ROWS)
    users: NDArray[np.integer] = field(default_factory=lambda: _NO_ROWS)
    new_users: NDArray[np.bool_] = field(default_factory=lambda: _NO_FLAGS)
    unseen_items: NDArray[np.bool_] = field(default_factory=lambda: _NO_FLAGS)
    repeated: NDArray[np.bool_] = field(default_factory=lambda: _NO_FLAGS)
    first_seen: NDArray[np.int64] = field(default_factory=lambda: _NO_ROWS)
    event_ts: NDArray[np.int64] = field(default_factory=lambda: _NO_ROWS)
    sent_at: NDArray[np.int64] = field(default_factory=lambda: _NO_ROWS)
    actions: Sequence[str] = ()
    values: NDArray[np.float32] = field(default_factory=lambda: _NO_NUMBERS)
    contexts: Sequence[Mapping[str, Any] | None] = ()
    item_features: Sequence[Mapping[str, Any]] = ()
    feed: FeedFigures = field(default_factory=FeedFigures)
    node_of: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    node_sizes: NDArray[np.integer] = field(default_factory=lambda: _NO_ROWS)
    node_vectors: Callable[[], NDArray[np.float32]] = lambda: np.zeros((0, 0), np.float32)
    node_cosines: Callable[[], NDArray[np.float32]] = lambda: _NO_NUMBERS
    mean_user: Callable[[], NDArray[np.float32]] = lambda: _NO_NUMBERS
    dropped: Mapping[str, int] = field(default_factory=dict)
    letter_reasons: Mapping[str, int] = field(default_factory=dict)
    dead_lettered: int = 0
    late_actions: int = 0
    watermark: int = 0
    commands: int = 0

    @property
    def loss(self) -> float:
        """Prequential loss: before training on the batch."""
        return self.model.loss

    @cached_property
    def context_texts(self) -> Counter[tuple[str, str]]:
        """Count field and text over every so many-th context; computed once, though several signals read it."""
        return _count_texts(self.contexts)

    @cached_property
    def item_texts(self) -> Counter[tuple[str, str]]:
        """Count field and text over the features of every so many-th item."""
        return _count_texts(self.item_features)


def every_so_many(values: Sequence[Any]) -> Sequence[Any]:
    """Return a sample of a batch's values, evenly spread."""
    return values[:: max(len(values) // _SAMPLE, 1)]


def _count_texts(mappings: Sequence[Mapping[str, Any] | None]) -> Counter[tuple[str, str]]:
    return Counter(chain.from_iterable(texts_of(mapping) for mapping in every_so_many(mappings) if mapping))


def texts_of(mapping: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return fields with a text, a truth value, or a list's first text: numbers and titles are no segments."""
    pairs = []
    for name, value in mapping.items():
        first = value[0] if type(value) in _LISTS and value else value
        if type(first) is bool:  # of plain values: `isinstance` costs twice as much, and this is read for each event
            pairs.append((name, str(first)))
        elif type(first) is str and len(first) <= _LONGEST:
            pairs.append((name, first))
    return pairs
