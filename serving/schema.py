"""Wire format of requests and answers, and the retrieval modes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hsnn.serving.errors import RequestError
from hsnn.streaming.schema.events import Id, Millis, Scalar

MODES = ("beam", "exact", "exhaustive", "popularity", "popularity_filter")
"""``beam`` serves; ``exact`` proves the answer of ``exhaustive``; the others are references from the same states."""

FILTERS = ("items", "exclude", "features")
"""Names of the filters."""


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Conditions that every returned item meets; all of them at once.

    Attributes
    ----------
    items : allow-list of item ids, also of items outside the beam
    exclude : ids never to return
    features : feature name -> accepted values; a list-valued feature needs one of them
    """

    items: list[Id] | None = None
    exclude: list[Id] = []
    features: dict[str, list[Scalar]] = {}


class HistoryItem(msgspec.Struct, frozen=True, array_like=True):
    """An item of a given history with its time, ``[id, epoch ms]``.

    (Not a tuple: msgspec 0.22 crashes in garbage collection on a union of a constrained text and a fixed tuple.)
    """

    item: Id
    ts: Millis


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One retrieval.

    Attributes
    ----------
    user : id; an unknown user has an empty history
    k : how many items; None is the server's default
    mode : one of `MODES`
    history : item ids, oldest first, in place of the mirrored history; an element may be ``[id, epoch ms]``
    context : context of the request, as in an interaction event
    as_of : epoch ms at which states are read; None is the mirror's watermark

    Examples
    --------
    >>> parse_request(b'{"user": 7, "k": 3, "filters": {"exclude": ["a"]}}').filters.exclude
    ['a']
    """

    user: Id
    k: Annotated[int, Meta(ge=1)] | None = None
    mode: str = "beam"
    filters: Filters = Filters()
    history: list[Id | HistoryItem] | None = None
    context: dict[str, Scalar] | None = None
    as_of: Millis | None = None


class AnswerStats(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer cost, and what it is worth.

    Attributes
    ----------
    scored : item-level evaluations
    candidates : allowed items that were looked at to choose these
    nodes : nodes opened
    evaluations : nodes scored on the way to them, over all learned levels
    corpus : items that may be returned to somebody
    certified : whether no allowed item can be missing: each was scored, or a bound shows that it would score too little
    scored_share : `scored` / `corpus`
    took_ms : wall time, the request's share of what was done for several at once included
    """

    scored: int
    candidates: int
    nodes: int
    corpus: int
    certified: bool = False
    scored_share: float = 0.0
    evaluations: int = 0
    took_ms: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Items, best first, with their scores; `as_of` is the mirror's watermark, `version` the index's."""

    items: list[str]
    scores: list[float]
    version: int
    as_of: int
    stats: AnswerStats


class QueriesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/v1/retrieve_many``."""

    queries: list[Request]


class AnswersBody(msgspec.Struct, frozen=True):
    """Answer of ``/v1/retrieve_many``, in the order of the queries."""

    answers: list[Answer]


_request = msgspec.json.Decoder(Request)
_queries = msgspec.json.Decoder(QueriesBody)


def parse_request(body: bytes) -> Request:
    """Read one request.

    Raises
    ------
    RequestError
        The body is no request; names the known filters or fields where one of them is unknown.
    """
    request: Request = _parsed(_request, body)
    return request


def parse_requests(body: bytes) -> list[Request]:
    """Read the requests of ``{"queries": [...]}``; raises as `parse` does."""
    queries: QueriesBody = _parsed(_queries, body)
    return queries.queries


def _parsed(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise RequestError(f"{error}{_hint(str(error))}") from None


def _hint(message: str) -> str:
    if "unknown field" not in message:
        return ""
    known = FILTERS if "filters" in message.partition(" - at ")[2] else Request.__struct_fields__
    return f"; known {'filters' if known is FILTERS else 'fields'}: {', '.join(known)}"
