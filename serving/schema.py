"""Wire format of requests and answers, and the retrieval modes."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from hsnn.serving.errors import RequestError
from hsnn.serving.filter_schema import Condition, FieldName, ValueRange, check_size
from hsnn.serving.filter_schema import Filters as Filters
from hsnn.streaming.schema.events import Feature, Id, Millis, Scalar
from hsnn.streaming.schema.timestamps import explain_value, require_millis


class RetrievalMode(StrEnum):
    """How the items of an answer are chosen; the values are those of the request's field ``mode``."""

    BEAM = "beam"
    """Beam search over the nodes, then scoring within the budget: the mode for production."""

    EXACT = "exact"
    """The answer of `EXHAUSTIVE`, proven by score bounds instead of scoring every item."""

    EXHAUSTIVE = "exhaustive"
    """All allowed items are scored."""

    POPULARITY = "popularity"
    """The items with the most traffic, without a model."""

    COVISITATION = "covisitation"
    """The items that are engaged with next to the user's last ones, then the most popular others, without a model."""

    POPULARITY_FILTER = "popularity_filter"
    """The items with the most traffic are scored."""

    LATEST = "latest"
    """The items that were seen first most recently, without a model; scores are these times, epoch ms."""


Body = TypeVar("Body", bound=msgspec.Struct)

MODES = tuple(mode.value for mode in RetrievalMode)
"""Values of the request's field ``mode``."""


class HistoryItem(msgspec.Struct, frozen=True, array_like=True):
    """An item of the history in a request, with its time: ``[id, epoch ms]``.

    Not a tuple: msgspec 0.22 crashes in garbage collection on a union of a constrained text and a fixed tuple.
    """

    item: Id
    ts: Millis


class Recency(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a boost fades with age: halved every `half_life_hours` since the time in `field`.

    Items without that time get no boost.
    """

    half_life_hours: Annotated[float, Meta(gt=0, le=1_000_000)]
    field: FieldName = "$first_seen"


class Boost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is added to the scores of some items; a score is a logit, so 0.7 doubles the odds.

    Attributes
    ----------
    add : may be below zero
    where : which items; by default all
    recency : fades it with age
    """

    add: Annotated[float, Meta(ge=-1000, le=1000)]
    where: Condition | None = None
    recency: Recency | None = None

    def __post_init__(self) -> None:
        if self.where is None and self.recency is None:
            raise ValueError("a boost has where, recency, or both")
        check_size(self.where)


class Cap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `most` of the returned items share a value of `field`: a feature, or ``$node``."""

    field: FieldName
    most: Annotated[int, Meta(ge=1)]


class NewItems(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At least `share` of the answer are items first seen in the last `max_age_hours`, if so many are allowed."""

    share: Annotated[float, Meta(ge=0, le=1)]
    max_age_hours: Annotated[float, Meta(gt=0, le=1_000_000)]


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Draw the items instead of taking the best, each with odds ``exp(score / temperature)`` among those left.

    They are drawn from the `pool` best; None: all that were scored. The header ``X-Request-Id`` is the seed.
    """

    temperature: Annotated[float, Meta(ge=0.001, le=1000)]
    pool: Annotated[int, Meta(ge=1)] | None = None


class SeenRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which of the user's past items are left out, in place of `trainer.exclude`; disliked ones always are.

    Attributes
    ----------
    rule : ``recent``, ``seen`` or ``nothing``
    items, minutes : of ``recent``: so many last distinct ones, and those of so long
    """

    rule: Literal["recent", "seen", "nothing"]
    items: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    minutes: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all questions for items have in common.

    Attributes
    ----------
    k : how many items; None is the server's default
    filters : what every returned item meets
    boosts : what is added to scores before anything is chosen
    caps : how many returned items may share a value; an item without the feature has no cap
    new_items : share of the answer for new items
    sampling : draws items; the answer has their propensities
    seen : which of the user's past items are left out
    as_of : epoch ms at which states are read; None is the mirror's watermark
    fields : features that the answer has of every item; ``*`` is all
    echo : whether the answer has the query as it was carried out, defaults filled in
    explain : whether the answer says why each item is in it
    why_not : ids of items; the answer says where each fell out
    index : prefix of the index that answers, of those that the server follows; the query then belongs to no arm
    """

    k: Annotated[int, Meta(ge=1)] | None = None
    filters: Filters = Filters()
    boosts: Annotated[list[Boost], Meta(max_length=32)] = []
    caps: Annotated[list[Cap], Meta(max_length=8)] = []
    new_items: NewItems | None = None
    sampling: Sampling | None = None
    seen: SeenRule | None = None
    as_of: Millis | None = None
    fields: Annotated[list[FieldName], Meta(max_length=64)] = []
    echo: bool = False
    explain: bool = False
    why_not: Annotated[list[Id], Meta(max_length=20)] = []
    index: str | None = None


class Request(Query, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One retrieval request for a user.

    Attributes
    ----------
    user : id; an unknown user has an empty history
    mode : a value of `RetrievalMode`
    history : item ids, oldest first, instead of the mirrored history; an element may be ``[id, epoch ms]``
    context : context of the request, as in an interaction event

    Examples
    --------
    >>> parse_request(b'{"user": 7, "k": 3, "filters": {"exclude": ["a"]}}').filters.exclude
    ['a']
    """

    user: Id
    mode: Annotated[str, Meta(extra_json_schema={"enum": MODES})] = RetrievalMode.BEAM.value
    history: list[Id | HistoryItem] | None = None
    context: dict[str, Scalar] | None = None


class SimilarRequest(Query, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request for items like given ones, which are never returned themselves.

    Attributes
    ----------
    items : ids; unknown ones are passed over, as long as one is known
    by : ``model``: the cosine of the items' vectors; ``evidence``: how large a share of what users engage with around
        the given items an item is; ``both``: their sum
    exhaustive : compare every allowed item; otherwise those of the nodes nearest to the given items, and those with
        evidence
    user : id; what this user has seen is left out
    """

    items: Annotated[list[Id], Meta(min_length=1, max_length=100)]
    by: Literal["both", "model", "evidence"] = "both"
    exhaustive: bool = False
    user: Id | None = None


class ListRequest(Query, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request for a list that is the same for everybody, but for what `user`, if there is one, has seen."""

    user: Id | None = None


class AnswerStats(msgspec.Struct, frozen=True, kw_only=True):
    """Work behind an answer, and whether the answer is proven.

    Attributes
    ----------
    scored : items scored by the item level
    candidates : allowed items that these were chosen from
    nodes : nodes opened
    evaluations : nodes scored to find those, over all learned levels
    dots : candidates whose dot product was computed, to choose those that were scored
    sources : scored items by where they came from: index, neighbours of the last items, memory of past items
    corpus : items that are retrievable at all
    allowed : of these, items that pass filters and seen rule; counted where the answer is short of items
    missing : by how many items the answer is shorter than `k`
    certified : whether no better item exists: each allowed one was scored, or has a bound that is too low
    scored_share : `scored` / `corpus`
    took_ms : wall time, including the request's share of work done for several at once
    """

    scored: int
    candidates: int
    nodes: int
    corpus: int
    allowed: int | None = None
    missing: int = 0
    certified: bool = False
    scored_share: float = 0.0
    evaluations: int = 0
    dots: int = 0
    sources: dict[str, int] = msgspec.field(default_factory=dict)
    took_ms: float = 0.0


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an item is in an answer.

    Attributes
    ----------
    source : where it came from: index, neighbours of the last items, memory of past items, the popular, the latest
    path : nodes from the first level down
    path_log_probs : log probability of each of these for the user
    parts : the score as a sum: ``item``, ``state``, ``node``, ``pair`` and ``boost``; ``network`` is the rest
    history : items of the history that add most: how much lower the score is without each
    pair : facts of user and item: co-visitation over popularity (``session``, ``month``), ``count`` and ``last`` of
        the user's own engagements
    passed : conditions that it met
    """

    source: str
    path: list[int] = []
    path_log_probs: list[float] = []
    parts: dict[str, float] = {}
    history: dict[str, float] = {}
    pair: dict[str, float] = {}
    passed: list[str] = []


class WhyNot(msgspec.Struct, frozen=True, kw_only=True):
    """Where an item fell out.

    Attributes
    ----------
    item : id
    stage : ``unknown``, ``not_indexed``, ``deleted``, ``expired``, ``filtered``, ``seen``, ``node_not_opened``,
        ``not_scored``, ``ranked_below``, ``capped`` or ``returned``, in the order of a search
    detail : in words
    """

    item: str
    stage: str
    detail: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Items, best first, with their scores; the last attributes are there if the query asked for them.

    Attributes
    ----------
    items, scores : of equal length
    version : that of the index
    as_of : watermark of the mirror, epoch ms
    stats
    recommendation_id : opaque and unique; events that result from this answer name it. Given by the server only
    arm : that of the server's experiment which answered, if there is one
    index : prefix of the index that answered, where the server follows several
    features : of each item, those of the query's `fields` that it has
    propensities : of each item, its probability of being drawn at its place, given those before it
    query : the query as it was carried out
    reasons : why each item is there
    why_not : where each item of the query's `why_not` fell out
    """

    items: list[str]
    scores: list[float]
    version: int
    as_of: int
    stats: AnswerStats
    recommendation_id: str = ""
    arm: str = ""
    index: str = ""
    features: list[dict[str, Feature]] | None = None
    propensities: list[float] | None = None
    query: dict[str, Any] | None = None
    reasons: list[Reason] | None = None
    why_not: list[WhyNot] | None = None


class AcceptedBody(msgspec.Struct, frozen=True):
    """Body of the response to calls that write: so many events are in the log."""

    accepted: int


class QueriesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/v1/retrieve_many``."""

    queries: list[Request]


class AnswersBody(msgspec.Struct, frozen=True):
    """Body of the response to ``/v1/retrieve_many``, in the order of the queries."""

    answers: list[Answer]


def parse_request(body: bytes | bytearray) -> Request:
    """Parse the body of one request.

    Raises
    ------
    RequestError
        The body is not a request; if a field is unknown, the text names the known ones.
    """
    return parse(Request, body)


def parse_requests(body: bytes | bytearray) -> list[Request]:
    """Parse the requests of ``{"queries": [...]}``; raises as `parse_request` does."""
    return parse(QueriesBody, body).queries


def _check_times(query: Query, path: str) -> None:
    """Refuse times that seem to be in another unit than milliseconds: else they would only rank by another time.

    Raises
    ------
    ValueError
        With the field, the value and the unit.
    """
    if query.as_of is not None:
        require_millis(query.as_of, f"{path}as_of")
    history = query.history if isinstance(query, Request) else None
    for index, element in enumerate(history or ()):
        if isinstance(element, HistoryItem):
            require_millis(element.ts, f"{path}history[{index}]")


def parse(kind: type[Body], body: bytes | bytearray) -> Body:
    """Parse a body of a kind; raises as `parse_request` does."""
    try:
        parsed: Body = _decoder(kind).decode(body)
        queries = parsed.queries if isinstance(parsed, QueriesBody) else [parsed]
        for number, query in enumerate(queries):
            if isinstance(query, Query):
                _check_times(query, f"queries[{number}]." if query is not parsed else "")
        return parsed
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8 at byte {error.start} of a text; encode JSON as UTF-8") from None
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise RequestError(f"{error}{_hint(kind, str(error))}{_explain_as_of(body, str(error))}") from None


def _explain_as_of(body: bytes | bytearray, message: str) -> str:
    """Say what an `as_of` seems to be that is no number."""
    if not message.endswith("`$.as_of`"):
        return ""
    try:
        explained = explain_value(msgspec.json.decode(body)["as_of"])
    except (msgspec.DecodeError, RecursionError):  # what comes after the field is no JSON: the error itself is enough
        return ""
    return f": {explained}" if explained else ""


@cache
def _decoder(kind: type[Body]) -> msgspec.json.Decoder[Body]:
    return msgspec.json.Decoder(kind)


# The part of a body that a path in an error text ends with, for the names that it may have.
_PARTS: dict[str, type[msgspec.Struct]] = {
    "queries": Request,
    "filters": Filters,
    "where": Condition,
    "any": Condition,
    "all": Condition,
    "none": Condition,
    "range": ValueRange,
    "boosts": Boost,
    "recency": Recency,
    "caps": Cap,
    "new_items": NewItems,
    "sampling": Sampling,
    "seen": SeenRule,
}


def _hint(kind: type[msgspec.Struct], message: str) -> str:
    if "unknown field" not in message:
        return ""
    path = message.rpartition(" - at `")[2].rstrip("`")
    part = path.rpartition(".")[2].partition("[")[0]
    named = _PARTS.get(part, kind)
    return f"; known {'filters' if named is Filters else 'fields'}: {', '.join(named.__struct_encode_fields__)}"
