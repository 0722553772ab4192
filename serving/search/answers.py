"""Answers made of what was selected: ids, fields, the query as it was carried out, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.schema import Answer, AnswerStats, Query, Reason, SeenRule, WhyNot
from hsnn.serving.search.condition_masks import check_name
from hsnn.serving.search.filters import MINUTE, seen_rule
from hsnn.serving.search.selection import Selected
from hsnn.streaming.schema.events import Feature

ALL_FIELDS = "*"
"""The name that stands for all features in a query's `fields`."""


class Work(NamedTuple):
    """What an answer cost beside what the search counts.

    Attributes
    ----------
    began : float
        `time.perf_counter` when the answer was begun.
    shared_seconds : float
        Its share of the time spent for several at once.
    nodes_scored : int
        Nodes scored over all learned levels.
    """

    began: float
    shared_seconds: float = 0.0
    nodes_scored: int = 0


class Explanations(NamedTuple):
    """Why items are in an answer, and why others are not; None where the query does not ask."""

    reasons: list[Reason] | None = None
    why_not: list[WhyNot] | None = None


def make_answer(
    state: EpochState,
    request: Query,
    selected: Selected,
    *,
    k: int,
    allowed: Callable[[], int],
    work: Work,
    explanations: Explanations,
    effective: Mapping[str, Any],
) -> Answer:
    """Make the answer to a query of `k` items; `effective` are values of the query that defaults were filled in for.

    `allowed` counts the items that pass filters and seen rule; it is called where the answer is short of items.

    Raises
    ------
    RequestError
        The query names a field that no item has.
    """
    result = selected.result
    rows = result.rows.tolist()
    features = [fields_of(state, request, row) for row in rows] if request.fields else None
    for name in request.fields:
        check_name(state, name, (ALL_FIELDS,), what="return")
    return Answer(
        items=state.items.ids.ids.select(result.rows),
        scores=result.scores.tolist(),
        version=state.index.version,
        as_of=state.watermark,
        features=features,
        propensities=None if selected.propensities is None else selected.propensities.tolist(),
        query=effective_query(state, request, k=k) | dict(effective) if request.echo else None,
        reasons=explanations.reasons,
        why_not=explanations.why_not,
        stats=AnswerStats(
            scored=result.scored,
            candidates=result.candidates,
            nodes=result.nodes,
            corpus=state.corpus,
            allowed=allowed() if len(rows) < k else None,
            missing=k - len(rows),
            certified=result.certified,
            scored_share=round(result.scored / max(state.corpus, 1), 4),
            evaluations=work.nodes_scored,
            dots=result.dots,
            sources=dict(result.sources),
            took_ms=round(1000 * (time.perf_counter() - work.began + work.shared_seconds), 3),
        ),
    )


def fields_of(state: EpochState, request: Query, row: int) -> dict[str, Feature]:
    """Return those of a row's features that the query asks for."""
    features = state.items.features.features(row)
    if ALL_FIELDS in request.fields:
        return dict(features)
    return {name: features[name] for name in request.fields if name in features}


def effective_query(state: EpochState, request: Query, *, k: int) -> dict[str, Any]:
    """Return a query with its defaults filled in, as JSON values."""
    rule = seen_rule(state, request)
    filled = msgspec.structs.replace(
        request,
        k=k,
        as_of=state.time_of(request.as_of),
        seen=SeenRule(rule.rule, items=rule.items, minutes=rule.time_ms / MINUTE),
    )
    query: dict[str, Any] = msgspec.to_builtins(filled)
    return query
