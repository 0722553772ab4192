"""Wire format of requests and answers, and the retrieval modes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hsnn.serving.errors import RequestError
from hsnn.streaming.schema.events import Id, Millis, Scalar


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

    POPULARITY_FILTER = "popularity_filter"
    """The items with the most traffic are scored."""


MODES = tuple(mode.value for mode in RetrievalMode)
"""Values of the request's field ``mode``."""

FILTERS = ("items", "exclude", "features")
"""Fields of `Filters`, for error texts."""


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Conditions that every returned item meets, all at once.

    Attributes
    ----------
    items : allow-list of item ids, also of items outside of the beam
    exclude : ids that are not returned
    features : feature name -> accepted values; of a list-valued feature one value must be accepted
    """

    items: list[Id] | None = None
    exclude: list[Id] = []
    features: dict[str, list[Scalar]] = {}


class HistoryItem(msgspec.Struct, frozen=True, array_like=True):
    """An item of the history in a request, with its time: ``[id, epoch ms]``.

    Not a tuple: msgspec 0.22 crashes in garbage collection on a union of a constrained text and a fixed tuple.
    """

    item: Id
    ts: Millis


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One retrieval request.

    Attributes
    ----------
    user : id; an unknown user has an empty history
    k : how many items; None is the server's default
    mode : a value of `RetrievalMode`
    history : item ids, oldest first, instead of the mirrored history; an element may be ``[id, epoch ms]``
    context : context of the request, as in an interaction event
    as_of : epoch ms at which states are read; None is the mirror's watermark

    Examples
    --------
    >>> parse_request(b'{"user": 7, "k": 3, "filters": {"exclude": ["a"]}}').filters.exclude
    ['a']
    """

    user: Id
    k: Annotated[int, Meta(ge=1)] | None = None
    mode: str = RetrievalMode.BEAM.value
    filters: Filters = Filters()
    history: list[Id | HistoryItem] | None = None
    context: dict[str, Scalar] | None = None
    as_of: Millis | None = None


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
    certified : whether no better item exists: each allowed one was scored, or has a bound that is too low
    scored_share : `scored` / `corpus`
    took_ms : wall time, including the request's share of work done for several at once
    """

    scored: int
    candidates: int
    nodes: int
    corpus: int
    certified: bool = False
    scored_share: float = 0.0
    evaluations: int = 0
    dots: int = 0
    sources: dict[str, int] = msgspec.field(default_factory=dict)
    took_ms: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Items, best first, with their scores.

    Attributes
    ----------
    items, scores : of equal length
    version : that of the index
    as_of : watermark of the mirror, epoch ms
    stats
    recommendation_id : opaque and unique; events that result from this answer name it. Given by the server only
    """

    items: list[str]
    scores: list[float]
    version: int
    as_of: int
    stats: AnswerStats
    recommendation_id: str = ""


class QueriesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/v1/retrieve_many``."""

    queries: list[Request]


class AnswersBody(msgspec.Struct, frozen=True):
    """Body of the response to ``/v1/retrieve_many``, in the order of the queries."""

    answers: list[Answer]


class AcceptedBody(msgspec.Struct, frozen=True):
    """Body of the response to calls that write: so many events are in the log."""

    accepted: int


_request_decoder = msgspec.json.Decoder(Request)
_queries_decoder = msgspec.json.Decoder(QueriesBody)


def parse_request(body: bytes | bytearray) -> Request:
    """Parse the body of one request.

    Raises
    ------
    RequestError
        The body is not a request; if a field is unknown, the text names the known ones.
    """
    request: Request = _decode(_request_decoder, body)
    return request


def parse_requests(body: bytes | bytearray) -> list[Request]:
    """Parse the requests of ``{"queries": [...]}``; raises as `parse_request` does."""
    queries: QueriesBody = _decode(_queries_decoder, body)
    return queries.queries


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes | bytearray) -> Any:
    try:
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8 at byte {error.start} of a text; encode JSON as UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(f"{error}{_hint(str(error))}") from None


def _hint(message: str) -> str:
    if "unknown field" not in message:
        return ""
    known = FILTERS if "filters" in message.partition(" - at ")[2] else Request.__struct_fields__
    return f"; known {'filters' if known is FILTERS else 'fields'}: {', '.join(known)}"
