"""Live prequential recall: ask the server before learning what the answer should have been.

A sample of each batch's events becomes queries. The batch's own states are held back until the answer is there or the
deadline has passed, so the server cannot know what it is asked to predict. Telemetry only: training never waits longer
than the deadline and never depends on an answer.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.errors import TokenError
from hsnn.trainer.metrics import QUERIES, RECALL
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import PreparedBatch

_log = logging.getLogger(__name__)
_CUTS = (20, 50)
_METHODS = {"served": "beam", "popularity": "popularity"}
_WINDOW = 2000


class _Stats(msgspec.Struct):
    scored: int
    corpus: int


class _Answer(msgspec.Struct):
    items: list[str]
    stats: _Stats


class _Answers(msgspec.Struct):
    answers: list[_Answer]


class PendingQueries(NamedTuple):
    """Queries under way: the items that followed, and the answers to come, by method."""

    targets: list[str]
    answers: Future[dict[str, list[_Answer]]]


class LivePrequential:
    """Asks a server and keeps score.

    Attributes
    ----------
    measured, unmeasured : int
        Queries answered in time, and not.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        self._rng = np.random.default_rng([config.seed, 1])
        self._client = _client(config) if config.server else None
        self._pool = ThreadPoolExecutor(1, "prequential")
        self._hits: dict[tuple[str, int], int] = {(method, cut): 0 for method in _METHODS for cut in _CUTS}
        self._recent: deque[dict[tuple[str, int], bool]] = deque(maxlen=_WINDOW)
        self._scored = 0.0
        self._late: Future[dict[str, list[_Answer]]] | None = None
        self.measured = self.unmeasured = 0

    def submit(self, prepared: PreparedBatch, learner: Learner) -> PendingQueries | None:
        """Send a sample of the batch's queries; events that repeat an item of their history are not asked.

        While a server still owes an answer whose deadline has passed it is not asked: the sample counts as unmeasured.
        """
        if self._client is None or not learner.network.seeded:
            return None
        repeated = (prepared.queries.history_items == prepared.items[:, None]).any(1)
        chosen = np.flatnonzero((self._rng.random(len(repeated)) < self._config.prequential_share) & ~repeated)
        if len(chosen) == 0:
            return None
        names = learner.items.table.ids
        targets = [names[row] for row in prepared.items[chosen]]
        if self._late is not None and not self._late.done():
            self._miss(len(targets), "an earlier answer is still due")
            return None
        queries = [self._query(prepared, learner, int(at)) for at in chosen]
        return PendingQueries(targets, self._pool.submit(self._post, queries))

    def collect(self, asked: PendingQueries | None) -> None:
        """Wait for the answers, at most until the deadline, and count hits; a target that is not indexed is a miss."""
        if asked is None:
            return
        try:
            answers = asked.answers.result(timeout=self._config.prequential_deadline)
        except (httpx.HTTPError, TimeoutError, msgspec.DecodeError) as error:
            self._late = asked.answers
            self._miss(len(asked.targets), repr(error))
            return
        self._score(asked.targets, answers)

    def recall(self) -> dict[str, dict[str, float]]:
        """Recall over the whole run; empty without answers.

        Returns
        -------
        dict
            ``{"recall_at_20": {"served": ..., "popularity": ...}, "recall_at_50": ...}``, shares.
        """
        if not self.measured:
            return {}
        return {f"recall_at_{cut}": {m: self._hits[m, cut] / self.measured for m in _METHODS} for cut in _CUTS}

    def recent(self) -> dict[str, dict[str, float]]:
        """Recall over the last 2,000 queries; else as `recall`."""
        if not self._recent:
            return {}
        count = len(self._recent)
        return {
            f"recall_at_{cut}": {m: sum(hit[m, cut] for hit in self._recent) / count for m in _METHODS} for cut in _CUTS
        }

    @property
    def scored_share(self) -> float | None:
        """Mean share of the living items that the served path scored per query."""
        return self._scored / self.measured if self.measured else None

    def close(self) -> None:
        """Give back the connection."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _query(self, prepared: PreparedBatch, learner: Learner, at: int) -> dict[str, Any]:
        names = learner.items.table.ids
        known = prepared.queries.history_items[at] >= 0
        rows, times = prepared.queries.history_items[at][known], prepared.queries.history_times[at][known]
        return {
            "user": prepared.unknown_users.get(at) or learner.users.table.ids[prepared.users[at]],
            "k": max(_CUTS),
            "history": [[names[row], int(time)] for row, time in zip(rows, times, strict=True)],
            "context": prepared.contexts[at],
            "as_of": int(prepared.ts[at]),
        }

    def _post(self, queries: list[dict[str, Any]]) -> dict[str, list[_Answer]]:
        """Ask every query by every method, in one request."""
        assert self._client is not None
        every = [query | {"mode": mode} for mode in _METHODS.values() for query in queries]
        response = self._client.post("/v1/retrieve_many", content=msgspec.json.encode({"queries": every}))
        response.raise_for_status()
        answers = msgspec.json.decode(response.content, type=_Answers).answers
        if len(answers) != len(every):
            raise msgspec.ValidationError(f"{len(answers)} answers to {len(every)} queries")
        return {m: answers[i * len(queries) : (i + 1) * len(queries)] for i, m in enumerate(_METHODS)}

    def _score(self, targets: list[str], answers: dict[str, list[_Answer]]) -> None:
        for number, target in enumerate(targets):
            hits = {(m, cut): target in answers[m][number].items[:cut] for m in _METHODS for cut in _CUTS}
            self._recent.append(hits)
            for name, hit in hits.items():
                self._hits[name] += hit
        for answer in answers["served"]:
            self._scored += answer.stats.scored / max(answer.stats.corpus, 1)
        self.measured += len(targets)
        QUERIES.labels("measured").inc(len(targets))
        for figure, by_method in self.recent().items():
            for method, value in by_method.items():
                RECALL.labels(method, figure.removeprefix("recall_at_")).set(value)

    def _miss(self, count: int, why: str) -> None:
        self.unmeasured += count
        QUERIES.labels("unmeasured").inc(count)
        _log.debug("%d prequential queries unanswered: %s", count, why)


def _client(config: TrainerConfig) -> httpx.Client:
    token = os.environ.get(config.server_token_env, "") if config.server_token_env else ""
    if config.server_token_env and not token:
        raise TokenError(
            f"trainer.server_token_env names {config.server_token_env}, which is not set; put the token into it"
        )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=config.server, timeout=config.prequential_deadline, headers=headers)
