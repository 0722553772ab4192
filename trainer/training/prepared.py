"""A batch prepared for training, and the report of a training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Scalar
from hsnn.streaming.schema.item_life import KnownItem
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_memory import MemoryEntries
from hsnn.trainer.messages import FeedItem
from hsnn.trainer.optim.batch import LabelledItems


class StepReport(NamedTuple):
    """Report of one step.

    Attributes
    ----------
    loss, node_loss : float
        Of the batch before it was learned, nats; NaN for a batch without events.
    events : int
        Interactions learned.
    unsafe : int
        Interactions left out because their step was refused (`hsnn.trainer.optim.gradient_guard`); it changed nothing
        then.
    probabilities : (J, A) float32 or None
        Probabilities that were given to the labels of `PreparedBatch.judged` before they were learned.
    judged : bool
        Whether the judgements of the batch were learned.
    refused : str
        Why a step was refused; empty if none was.
    rowless : int
        Interactions not learned because their item has no row.
    ranks : (n,) float32 or None
        Share of the step's candidates that ranked above each example's item before it was learned.
    sources : (n,) uint8 or None
        Sources beside the index that named each example's item (`StepCandidates.target_sources`), where that was
        measured.
    assigned, moved : int
        Candidates that had a node and were assigned anew, and those of them that another node was nearest to.
    popularity_loss : float
        Of counting with the half-life that was best before, on the events of `loss`; NaN where none counts.
    """

    loss: float
    node_loss: float
    events: int
    unsafe: int = 0
    probabilities: NDArray[np.float32] | None = None
    judged: bool = False
    refused: str = ""
    rowless: int = 0
    ranks: NDArray[np.float32] | None = None
    sources: NDArray[np.uint8] | None = None
    assigned: int = 0
    moved: int = 0
    popularity_loss: float = float("nan")


def merge_reports(reports: Sequence[StepReport]) -> StepReport:
    """Merge the reports of a batch's steps: losses weighted by their events, counts summed.

    Examples
    --------
    >>> first, second = StepReport(1.0, 4.0, 3, popularity_loss=2.0), StepReport(5.0, 0.0, 1, popularity_loss=6.0)
    >>> merged = merge_reports([first, second])
    >>> merged[:3], merged.popularity_loss
    ((2.0, 3.0, 4), 3.0)
    """
    if len(reports) == 1:
        return reports[0]
    learned = [report for report in reports if report.events] or list(reports)
    weights = np.array([max(report.events, 1) for report in learned], np.float64)
    losses = np.array([[report.loss, report.node_loss, report.popularity_loss] for report in learned])
    item, node, popularity = (weights @ losses / weights.sum()).tolist()
    events, unsafe = sum(report.events for report in reports), sum(report.unsafe for report in reports)
    refused = next((report.refused for report in reports if report.refused), "")
    ranks = [report.ranks for report in reports if report.ranks is not None]
    sources = [report.sources for report in reports if report.sources is not None]
    return StepReport(
        loss=item,
        node_loss=node,
        events=events,
        unsafe=unsafe,
        probabilities=reports[0].probabilities,
        judged=reports[0].judged,
        refused=refused,
        ranks=np.concatenate(ranks) if len(ranks) == len(reports) else None,
        sources=np.concatenate(sources) if len(sources) == len(reports) else None,
        assigned=sum(report.assigned for report in reports),
        moved=sum(report.moved for report in reports),
        popularity_loss=popularity,
    )


class Dislikes(NamedTuple):
    """Engagements (m) that speak against their item: examples of their own kind, and in no history or counter.

    Attributes
    ----------
    queries : QueryArrays
        What a server would be asked just before each.
    items, users, ts : (m,) int64
        A user without a row is -1.
    weights, undamped : (m,) float32
        As those of `PreparedBatch`, and more than zero.
    actions : (m,) uint8
        As those of `PreparedBatch`.
    """

    queries: QueryArrays
    items: NDArray[np.int64]
    users: NDArray[np.int64]
    ts: NDArray[np.int64]
    weights: NDArray[np.float32]
    undamped: NDArray[np.float32]
    actions: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch as rows, with each event's history just before it.

    Attributes
    ----------
    items, users, ts : (n,) int64
        A user without a row is -1.
    weights, counted, undamped : (n,) float32
        Weight in the loss, in the counters, and without regard to repeats
        (`hsnn.trainer.features.feedback.event_weights.EventWeights`).
    actions : (n,) uint8
        Bits of the actions' slots (`hsnn.trainer.features.user_memory.action_slots`).
    memory : MemoryEntries
        What was remembered of each event's user at the beginning of the batch.
    excluded : (n, E) int32
        Items that may not be recommended at each event (`hsnn.trainer.features.exclusion`), -1 padded in front.
    queries : QueryArrays
        What a server would be asked just before each event.
    feed : list of FeedItem
        New, changed and deleted items.
    contexts : n mappings or None
        As they came, for asking a server.
    watermark : int
        Epoch ms.
    judged : LabelledItems or None
        Items that were shown, with what became of them.
    indices : (n,) int64
        Index of each example among the batch's interactions. The others are repeats, or dislikes.
    events : int
        Interactions of the batch whose item has a row, and `rowless` of the others.
    unknown_users : index among the examples -> id
        Users without a row; their row is -1.
    dislikes : Dislikes or None
    restated : (id, record)
        Items to append to the items topic again.
    """

    items: NDArray[np.int64]
    users: NDArray[np.int64]
    ts: NDArray[np.int64]
    weights: NDArray[np.float32]
    counted: NDArray[np.float32]
    undamped: NDArray[np.float32]
    actions: NDArray[np.uint8]
    memory: MemoryEntries
    excluded: NDArray[np.int32]
    queries: QueryArrays
    feed: list[FeedItem]
    contexts: Sequence[dict[str, Scalar] | None]
    watermark: int
    judged: LabelledItems | None = None
    indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    events: int = 0
    rowless: int = 0
    unknown_users: Mapping[int, str] = field(default_factory=dict)
    dislikes: Dislikes | None = None
    restated: Sequence[tuple[str, KnownItem]] = ()

    @property
    def now(self) -> int:
        """Time of the newest engagement, epoch ms; 0 if there is none."""
        latest = int(self.ts.max(initial=0))
        return latest if self.dislikes is None else max(latest, int(self.dislikes.ts.max(initial=0)))

    @property
    def example_weights(self) -> NDArray[np.float32]:
        """Weights (n,) as an example, now and when learned again: 0 for an item that would not have been served."""
        served = ~(self.excluded == self.items[:, None]).any(1)
        weights: NDArray[np.float32] = self.weights * served
        return weights

    @property
    def least_weight(self) -> float:
        """Smallest weight that the step's mean is taken over: a batch of one user's repeats is no full step."""
        undamped = float(self.undamped.sum())
        return undamped if self.dislikes is None else undamped + float(self.dislikes.undamped.sum())

    def parts(self, size: int) -> list[PreparedBatch]:
        """Split the examples into parts of at most `size`; everything else goes with the first."""
        cuts = [slice(start, start + size) for start in range(0, len(self.items), size)]
        return [self] if len(cuts) < 2 else [self._part(cut, first=not cut.start) for cut in cuts]

    def _part(self, cut: slice, *, first: bool) -> PreparedBatch:
        repeats = self.events - len(self.items)
        return replace(
            self,
            items=self.items[cut],
            users=self.users[cut],
            ts=self.ts[cut],
            weights=self.weights[cut],
            counted=self.counted[cut],
            undamped=self.undamped[cut],
            actions=self.actions[cut],
            memory=self.memory.select(cut),
            excluded=self.excluded[cut],
            queries=self.queries.select(cut),
            contexts=self.contexts[cut],
            indices=self.indices[cut],
            feed=self.feed if first else [],
            judged=self.judged if first else None,
            dislikes=self.dislikes if first else None,
            events=len(self.items[cut]) + (repeats if first else 0),
        )
