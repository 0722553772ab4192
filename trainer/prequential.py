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
from typing import Any

import httpx
import msgspec
import numpy as np

from trainer.config import TrainerConfig
from trainer.errors import TokenError
from trainer.learner import Learner
from trainer.metrics import QUERIES, RECALL
from trainer.prepared import Prepared

_log = logging.getLogger(__name__)
_CUTS = (20, 50)
_METHODS = {"served": "beam", "popularity": "popularity"}
_WINDOW = 2000

Answers = dict[str, list[list[str]]]
"""Recommended ids per query, by method."""


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
        self._scored = self._answered = 0.0
        self.measured = self.unmeasured = 0

    def ask(self, prepared: Prepared, learner: Learner) -> tuple[list[str], Future[Answers]] | None:
        """Send a sample of the batch's queries; events that repeat an item of their history are not asked."""
        if self._client is None or not learner.network.seeded:
            return None
        repeated = (prepared.queries.history_items == prepared.items[:, None]).any(1)
        chosen = np.flatnonzero((self._rng.random(len(repeated)) < self._config.prequential_share) & ~repeated)
        if len(chosen) == 0:
            return None
        names = learner.items.table.ids
        targets = [names[row] for row in prepared.items[chosen]]
        return targets, self._pool.submit(self._post, [self._query(prepared, learner, int(at)) for at in chosen])

    def settle(self, asked: tuple[list[str], Future[Answers]] | None) -> None:
        """Wait for the answers, at most until the deadline, and count hits; a target that is not indexed is a miss."""
        if asked is None:
            return
        targets, future = asked
        try:
            answers = future.result(timeout=2 * self._config.prequential_deadline)
        except (httpx.HTTPError, TimeoutError, msgspec.DecodeError, KeyError) as error:
            self.unmeasured += len(targets)
            QUERIES.labels("unmeasured").inc(len(targets))
            _log.debug("prequential queries unanswered: %s", error)
            return
        self._score(targets, answers)

    def recall(self) -> dict[str, dict[str, float]]:
        """Recall over the whole run, ``{"recall_at_20": {"served": ..., "popularity": ...}, ...}``; empty without answers."""
        if not self.measured:
            return {}
        return {f"recall_at_{cut}": {m: self._hits[m, cut] / self.measured for m in _METHODS} for cut in _CUTS}

    def recent(self) -> dict[str, dict[str, float]]:
        """The same over the last 2,000 queries."""
        if not self._recent:
            return {}
        count = len(self._recent)
        return {
            f"recall_at_{cut}": {m: sum(hit[m, cut] for hit in self._recent) / count for m in _METHODS} for cut in _CUTS
        }

    @property
    def scored_share(self) -> float | None:
        """Mean share of the living items that the served path scored per query."""
        return self._scored / self._answered if self._answered else None

    def close(self) -> None:
        """Give back the connection."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _query(self, prepared: Prepared, learner: Learner, at: int) -> dict[str, Any]:
        names = learner.items.table.ids
        known = prepared.queries.history_items[at] >= 0
        rows, times = prepared.queries.history_items[at][known], prepared.queries.history_times[at][known]
        return {
            "user": learner.users.table.ids[prepared.users[at]],
            "k": max(_CUTS),
            "history": [[names[row], int(time)] for row, time in zip(rows, times, strict=True)],
            "context": prepared.contexts[at],
            "as_of": int(prepared.ts[at]),
        }

    def _post(self, queries: list[dict[str, Any]]) -> Answers:
        assert self._client is not None
        every = [query | {"mode": mode} for mode in _METHODS.values() for query in queries]
        response = self._client.post("/v1/retrieve_many", content=msgspec.json.encode({"queries": every}))
        response.raise_for_status()
        answers = msgspec.json.decode(response.content)["answers"]
        for answer in answers[: len(queries)]:
            self._scored += answer["stats"]["scored"] / max(answer["stats"]["corpus"], 1)
            self._answered += 1
        items = [answer["items"] for answer in answers]
        return {method: items[i * len(queries) : (i + 1) * len(queries)] for i, method in enumerate(_METHODS)}

    def _score(self, targets: list[str], answers: Answers) -> None:
        for number, target in enumerate(targets):
            hit = {(m, cut): target in answers[m][number][:cut] for m in _METHODS for cut in _CUTS}
            self._recent.append(hit)
            for name, found in hit.items():
                self._hits[name] += found
        self.measured += len(targets)
        QUERIES.labels("measured").inc(len(targets))
        for name, values in self.recent().items():
            for method, value in values.items():
                RECALL.labels(method, name.removeprefix("recall_at_")).set(value)


def _client(config: TrainerConfig) -> httpx.Client:
    token = os.environ.get(config.server_token_env, "") if config.server_token_env else ""
    if config.server_token_env and not token:
        raise TokenError(
            f"trainer.server_token_env names {config.server_token_env}, which is not set; put the token into it"
        )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=config.server, timeout=config.prequential_deadline, headers=headers)
