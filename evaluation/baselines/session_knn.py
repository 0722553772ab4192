"""What session-based nearest-neighbour methods share: candidates from recent sessions, votes, and a fallback.

Items without a vote come after the others, by decayed popularity; it also answers users without a history.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import Baseline, LearnedBatch, ScoredBatch
from hsnn.evaluation.baselines.recent_sessions import RecentSessions
from hsnn.evaluation.baselines.scored_answers import answers_by_score
from hsnn.evaluation.methods import POPULARITY_HALF_LIVES
from hsnn.evaluation.queries.query_batch import MethodResult

# Sessions that neighbours are chosen from, the newest of those that share an item with the current one.
CANDIDATES = 2500

# Weight of popularity beside the votes: it breaks ties and orders what got no vote, and never changes an order.
_POPULARITY_WEIGHT = 1e-9


class Candidates(NamedTuple):
    """Sessions that share an item with the current one.

    Attributes
    ----------
    sessions : (n,) int64
        Numbers, ascending: the later a session began, the larger.
    nearest_place : (n,) int64
        Place, counted back from the newest, 1, of the newest shared item in the current session.
    similarity : (n,) float64
        Sum of the weights of the shared items.
    """

    sessions: NDArray[np.int64]
    nearest_place: NDArray[np.int64]
    similarity: NDArray[np.float64]

    def select(self, chosen: NDArray[np.integer] | slice) -> Candidates:
        """Select some of the sessions."""
        return Candidates(self.sessions[chosen], self.nearest_place[chosen], self.similarity[chosen])

    def nearest(self, count: int, similarity: NDArray[np.float64]) -> Candidates:
        """Select the `count` sessions of the largest `similarity` (n,), which replaces the one before."""
        kept = self._replace(similarity=similarity)
        return kept if len(similarity) <= count else kept.select(np.argpartition(similarity, -count)[-count:])


def add_up(items: NDArray[np.int32], votes: NDArray[np.floating], rows: int) -> NDArray[np.float64]:
    """Add up votes (n, m) or (n, 1) for `items` (n, m), -1 for none: (rows,) by item row."""
    # What is voted for a missing item goes to an additional row in front.
    total = np.bincount((items + 1).ravel(), np.broadcast_to(votes, items.shape).ravel(), rows + 1)
    by_row: NDArray[np.float64] = total[1 : rows + 1].astype(np.float64)
    return by_row


class SessionKnnBaseline(Baseline):
    """Adds up the votes of the sessions nearest to the user's last items.

    The settings are those of the votes, each with the half-life of the popularity that it falls back to; `fallbacks`
    has an index into `POPULARITY_HALF_LIVES` for each column, and `votes_of` the index of its votes.
    """

    fallbacks: Sequence[float]
    """Half-lives in hours, one per setting."""

    votes_of: Sequence[int]
    """Index into the votes of `votes`, one per setting."""

    def __init__(self) -> None:
        self.sessions = RecentSessions()

    @abstractmethod
    def votes(
        self, items: NDArray[np.int64], now: int, own: int, rows: int, *, which: Sequence[int] | None = None
    ) -> list[NDArray[np.float64]]:
        """Let the neighbours vote.

        Parameters
        ----------
        items : (n,)
            Rows of the current session's items, the newest first.
        now
            Time of the query, epoch ms.
        own
            Number of the current session among the recent ones, which has no vote; -1 for none.
        rows
            Length of the returned arrays.
        which
            Indices of the votes that are needed; all of them by default.

        Returns
        -------
        list of (rows,)
            Votes by item row.
        """

    def learn(self, batch: LearnedBatch) -> None:
        """Add the engagements of a batch to the sessions."""
        self.sessions.add(batch.prepared.users, batch.prepared.items, batch.prepared.ts)

    def candidates(
        self, items: NDArray[np.int64], weightings: Sequence[NDArray[np.float64]], own: int
    ) -> list[Candidates]:
        """Find the newest sessions that share one of `items` (n,), the newest first; once for each weights (n,)."""
        found = [self.sessions.of_item(item) for item in items.tolist()]
        place = np.repeat(np.arange(len(items)), [len(one) for one in found])
        numbers, first, inverse = np.unique(np.concatenate(found), return_index=True, return_inverse=True)
        kept, nearest = np.flatnonzero(numbers != own)[-CANDIDATES:], place[first] + 1
        similarities = [np.bincount(inverse, weights[place], len(numbers)).astype(float) for weights in weightings]
        return [Candidates(numbers[kept], nearest[kept], similarity[kept]) for similarity in similarities]

    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Answer with the items of the most votes, one result per setting."""
        queries, sampled = batch.queries, batch.queries.sampled
        chosen = [POPULARITY_HALF_LIVES.index(hours) for hours in self.fallbacks]
        popularity = batch.ranking.counts[chosen]
        popularity = popularity / np.maximum(popularity.max(1, keepdims=True, initial=0.0), 1e-300)

        def score(number: int, settings: list[int]) -> NDArray[np.float64]:
            scores: NDArray[np.float64] = _POPULARITY_WEIGHT * popularity[settings]
            items = sampled.history[number, ::-1].astype(np.int64)
            items = items[items >= 0]
            if len(items):
                own = self.sessions.of_user(int(sampled.users[number]))
                which = sorted({self.votes_of[at] for at in settings})
                votes = self.votes(items, int(sampled.ts[number]), own, queries.row_limit, which=which)
                retrievable = np.stack(votes)[:, queries.rows]
                scores += retrievable[[which.index(self.votes_of[at]) for at in settings]]
            return scores

        return answers_by_score(batch, self.columns, score)
