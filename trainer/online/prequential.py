"""Live prequential recall: query the server for the next item of an event before training on the event.

A sample of each batch's events becomes queries. The states of the batch are published only once the answers have
arrived or the deadline has passed, so that the server cannot have seen what it is to predict. Telemetry only: training
never waits longer than the deadline and never depends on an answer.
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

from hsnn.streaming.redis.keys import key_prefix
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.errors import TokenError
from hsnn.trainer.metrics import QUERIES, RECALL
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import PreparedBatch

_log = logging.getLogger(__name__)
# Ranks k at which recall@k is measured: a first page, and a candidate list for a ranker.
_CUTS = (20, 50)

# Modes of retrieval by the name of the method that they measure. Co-visitation is what the model has to beat on streams
# with sessions; it is counted for models that use it as a feature.
_METHODS = {"served": "beam", "popularity": "popularity", "covisitation": "covisitation"}

# Methods that versions are compared by.
_COMPARED = ("served", "popularity")
# Versions whose recall is kept apart: the one in use, the one before it, and one that a server still answers with.
_VERSIONS = 3
# Queries in the recent recall: its standard error is about one point at a recall of 20%.
_WINDOW = 2000


class _Stats(msgspec.Struct):
    scored: int
    corpus: int


class _Answer(msgspec.Struct):
    items: list[str]
    stats: _Stats
    version: int = 0


class _Answers(msgspec.Struct):
    answers: list[_Answer]


class PendingQueries(NamedTuple):
    """Queries in flight: the target items, and the future answers by method."""

    targets: list[str]
    answers: Future[dict[str, list[_Answer]]]


class LivePrequential:
    """Query a server with samples of batches and measure recall.

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
        self._methods = {
            name: mode for name, mode in _METHODS.items() if name in _COMPARED or config.model.counts_pairs
        }
        self._hits: dict[tuple[str, int], int] = {(method, cut): 0 for method in self._methods for cut in _CUTS}
        self._recent: deque[dict[tuple[str, int], bool]] = deque(maxlen=_WINDOW)
        self._scored = 0.0
        self._by_version: dict[int, list[int]] = {}
        self._overdue: Future[dict[str, list[_Answer]]] | None = None
        self.measured = self.unmeasured = 0

    def submit(self, prepared: PreparedBatch, learner: Learner) -> PendingQueries | None:
        """Send a sample of the batch's events as queries; events that repeat an item of their history are left out.

        While an earlier answer is overdue nothing is sent: the sample counts as unmeasured.
        """
        if self._client is None or not learner.network.seeded:
            return None
        repeated = (prepared.queries.history_items == prepared.items[:, None]).any(1)
        chosen = np.flatnonzero((self._rng.random(len(repeated)) < self._config.prequential_share) & ~repeated)
        if len(chosen) == 0:
            return None
        names = learner.items.table.ids
        targets = [names[row] for row in prepared.items[chosen]]
        if self._overdue is not None and not self._overdue.done():
            self._miss(len(targets), "an earlier answer is overdue")
            return None
        queries = [self._query(prepared, learner, int(index)) for index in chosen]
        return PendingQueries(targets, self._pool.submit(self._post, queries))

    def collect(self, pending: PendingQueries | None) -> None:
        """Wait for the answers until the deadline and count hits; a target that is not indexed is a miss."""
        if pending is None:
            return
        try:
            answers = pending.answers.result(timeout=self._config.prequential_deadline)
        except (httpx.HTTPError, TimeoutError, msgspec.DecodeError) as error:
            self._overdue = pending.answers
            self._miss(len(pending.targets), repr(error))
            return
        self._score(pending.targets, answers)

    def recall(self) -> dict[str, dict[str, float]]:
        """Return the recall over the whole run; empty without answers.

        Returns
        -------
        dict
            ``{"recall_at_20": {"served": ..., "popularity": ...}, "recall_at_50": ...}``, shares; with ``covisitation``
            where the model counts pairs.
        """
        if not self.measured:
            return {}
        return {f"recall_at_{cut}": {m: self._hits[m, cut] / self.measured for m in self._methods} for cut in _CUTS}

    def recent(self) -> dict[str, dict[str, float]]:
        """Return the recall over the last 2,000 queries, in the form of `recall`."""
        if not self._recent:
            return {}
        count = len(self._recent)
        return {
            f"recall_at_{cut}": {m: sum(hit[m, cut] for hit in self._recent) / count for m in self._methods}
            for cut in _CUTS
        }

    def by_version(self) -> dict[int, list[int]]:
        """Return by index version: queries, hits at the longer cut, and those of popularity on the same queries."""
        return dict(self._by_version)

    @property
    def scored_share(self) -> float | None:
        """Mean share of the live items that the served path scored per query."""
        return self._scored / self.measured if self.measured else None

    def close(self) -> None:
        """Cancel queries in flight and close the connection."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _query(self, prepared: PreparedBatch, learner: Learner, index: int) -> dict[str, Any]:
        names = learner.items.table.ids
        known = prepared.queries.history_items[index] >= 0
        rows, times = prepared.queries.history_items[index][known], prepared.queries.history_times[index][known]
        return {
            "user": prepared.unknown_users.get(index) or learner.users.table.ids[prepared.users[index]],
            "k": max(_CUTS),
            "history": [[names[row], int(time)] for row, time in zip(rows, times, strict=True)],
            "context": prepared.contexts[index],
            "as_of": int(prepared.ts[index]),
            "index": key_prefix(),  # of this loop, whatever arm the user is in
        }

    def _post(self, queries: list[dict[str, Any]]) -> dict[str, list[_Answer]]:
        """Send every query with every method, in one request."""
        assert self._client is not None
        every = [query | {"mode": mode} for mode in self._methods.values() for query in queries]
        response = self._client.post("/v1/retrieve_many", content=msgspec.json.encode({"queries": every}))
        response.raise_for_status()
        answers = msgspec.json.decode(response.content, type=_Answers).answers
        if len(answers) != len(every):
            raise msgspec.ValidationError(f"{len(answers)} answers to {len(every)} queries")
        return {m: answers[i * len(queries) : (i + 1) * len(queries)] for i, m in enumerate(self._methods)}

    def _score(self, targets: list[str], answers: dict[str, list[_Answer]]) -> None:
        for number, target in enumerate(targets):
            hits = {(m, cut): target in answers[m][number].items[:cut] for m in self._methods for cut in _CUTS}
            self._recent.append(hits)
            self._count_version(answers["served"][number].version, hits)
            for name, hit in hits.items():
                self._hits[name] += hit
        for answer in answers["served"]:
            self._scored += answer.stats.scored / max(answer.stats.corpus, 1)
        self.measured += len(targets)
        QUERIES.labels("measured").inc(len(targets))
        for figure, by_method in self.recent().items():
            for method, value in by_method.items():
                RECALL.labels(method, figure.removeprefix("recall_at_")).set(value)

    def _count_version(self, version: int, hits: dict[tuple[str, int], bool]) -> None:
        counts = self._by_version.pop(version, [0, 0, 0])
        for index, hit in enumerate((True, *(hits[method, max(_CUTS)] for method in _COMPARED))):
            counts[index] += hit
        self._by_version[version] = counts  # the last one is the one that answered last
        if len(self._by_version) > _VERSIONS:
            del self._by_version[next(iter(self._by_version))]

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
